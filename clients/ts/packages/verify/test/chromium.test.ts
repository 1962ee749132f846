/** The vectors in a real browser, under a strict content security policy. */

import { build } from 'esbuild';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChromium } from './chromium.js';
import type { Outcome } from './page/vectors.js';

const page = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Vectors</title>
<script type="module" src="/page.js"></script></head><body></body></html>`;

let server: Server;
let browser: Browser;

beforeAll(async () => {
  const built = await build({
    stdin: {
      contents: "import { run } from './vectors.js'; globalThis.run = run; document.body.textContent = 'loaded';",
      resolveDir: fileURLToPath(new URL('page', import.meta.url)),
      loader: 'ts',
    },
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  });
  const script = built.outputFiles[0]?.text ?? '';
  server = createServer((request, response) => {
    const [, vectors] = /^\/vectors\/([a-z-]+\.json)$/.exec(request.url ?? '') ?? [];
    response.setHeader('content-security-policy', "default-src 'none'; script-src 'self'; connect-src 'self'");
    if (vectors !== undefined) {
      response.setHeader('content-type', 'application/json');
      response.end(readFileSync(new URL(`../../../../../docs/spec/vectors/${vectors}`, import.meta.url)));
    } else if (request.url === '/page.js') {
      response.setHeader('content-type', 'text/javascript');
      response.end(script);
    } else {
      response.setHeader('content-type', 'text/html');
      response.end(page);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await startChromium();
});

afterAll(async () => {
  await browser.close();
  server.close();
});

test('the vectors come out right in a page', async () => {
  const tab = await browser.newPage();
  tab.setDefaultTimeout(600_000);
  const errors: string[] = [];
  tab.on('pageerror', (error) => errors.push(error.message));
  await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await tab.waitForFunction(() => document.body.textContent === 'loaded');
  const outcome = await tab.evaluate(() => (globalThis as unknown as { run: () => Promise<Outcome> }).run());
  expect(errors).toEqual([]);
  expect(outcome.wrong).toEqual([]);
  console.log(`in Chromium ${browser.version()}: ${JSON.stringify(outcome.ran)}`);
  for (const file of ['receipts', 'sigstore', 'exports', 'configurations', 'verifications', 'texts'])
    expect(outcome.ran[file] ?? 0, file).toBeGreaterThan(20);
  await tab.close();
});
