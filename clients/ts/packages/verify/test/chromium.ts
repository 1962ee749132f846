/** Debian's Chromium, which is installed if it is missing. */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';

const program = '/usr/bin/chromium';

/** Starts the browser. It has no network but loopback. */
export async function startChromium(): Promise<Browser> {
  if (!existsSync(program)) {
    const options = { stdio: 'inherit', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } } as const;
    execFileSync('apt-get', ['update', '-qq'], options);
    execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], options);
  }
  return await chromium.launch({
    executablePath: program,
    timeout: 300_000,
    args: [
      '--no-sandbox', // root cannot use the sandbox
      '--disable-gpu',
      '--disable-dev-shm-usage', // containers have a small /dev/shm
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
}
