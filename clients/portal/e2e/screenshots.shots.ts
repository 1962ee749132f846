/** Pictures of every view in both themes, in bin/portal-screenshots. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, test } from 'vitest';
import { Ledger, settled, signedIn, startChromium } from './harness.js';
import { seed, type ViewAddress } from './views.js';

const out = fileURLToPath(new URL('../../../bin/portal-screenshots', import.meta.url));
const widths = process.env['WIDTHS']?.split(',').map(Number) ?? [1440, 360];

let ledger: Ledger;
let browser: Browser;
let views: ViewAddress[];

beforeAll(async () => {
  mkdirSync(out, { recursive: true });
  [ledger, browser] = await Promise.all([Ledger.start(), startChromium()]);
  views = await seed(ledger);
});

afterAll(async () => {
  await browser.close();
  await ledger.stop();
});

test.each(['light', 'dark'] as const)('%s', async (colorScheme) => {
  const { page, context } = await signedIn(browser, ledger, { colorScheme });
  const only = process.env['VIEWS']?.split(',');
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    for (const { name, path } of views) {
      if (only && !only.includes(name)) continue;
      await page.goto(`${ledger.url}/portal${path}`);
      await settled(page);
      await page.screenshot({ path: join(out, `${name}-${colorScheme}-${width}.png`), fullPage: true });
    }
  }
  await context.close();
});
