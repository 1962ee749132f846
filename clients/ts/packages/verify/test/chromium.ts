/** Debian's Chromium, which is installed if it is missing. */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Browser } from 'playwright-core';

const program = '/usr/bin/chromium';
const repository = fileURLToPath(new URL('../../../../../', import.meta.url));

/** Starts the browser. It has no network but loopback. */
export async function startChromium(): Promise<Browser> {
  // Several files of tests find it missing at once.
  if (!existsSync(program))
    execFileSync('flock', [join(tmpdir(), 'muniment-chromium.lock'), join(repository, '.ci/peers'), 'chromium'], {
      stdio: 'inherit',
    });
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
