/** A replica whose log is gone. */

import { readFileSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Ledger, openPage, settled, signIn, startChromium, violations } from './harness.js';

let log: Ledger;
let replica: Ledger;
let browser: Browser;

beforeAll(async () => {
  [log, browser] = await Promise.all([Ledger.start(), startChromium()]);
  await log.append('first.txt', 'first\n', ['--media-type', 'text/plain']);
  replica = await Ledger.replicaOf(log);
});

afterAll(async () => {
  await browser.close();
  await replica.stop();
  await log.stop();
});

test('a replica shows that it is behind, and when it has reached the log again', async () => {
  const context = await browser.newContext({ locale: 'en-GB', viewport: { width: 1280, height: 800 } });
  const { page, problems } = await openPage(context, replica);
  await signIn(page, replica, readFileSync(replica.tokenFile(), 'utf8').trim());
  const live = page.locator('header').getByText('Live', { exact: true });
  const behind = page.getByText('This replica is behind the log');
  await live.waitFor();
  expect(await behind.count()).toBe(0);

  await log.kill();
  await behind.waitFor({ timeout: 300_000 }); // the page finds out by itself
  await page
    .locator('header')
    .getByText(/^As of \d+ (seconds|minutes?) ago$/u)
    .waitFor();
  expect(await live.count()).toBe(0);
  for (const path of ['/', '/findings', '/entries/0']) {
    await page.goto(`${replica.url}/portal${path}`);
    await settled(page);
    await behind.waitFor();
    expect.soft(await violations(page), path).toEqual([]);
  }

  await log.serve(Number(new URL(log.url).port));
  const entry = await log.append('second.txt', 'second\n', ['--media-type', 'text/plain']);
  await behind.waitFor({ state: 'detached', timeout: 300_000 });
  await live.waitFor();
  await page.goto(`${replica.url}/portal/entries/${entry}`);
  await page.getByText('text/plain').first().waitFor();
  expect(problems).toEqual([]);
  await context.close();
});
