/** The views that work in the browser alone: audit and verification. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Ledger, settled, signedIn, startChromium } from './harness.js';

let ledger: Ledger;
let browser: Browser;

beforeAll(async () => {
  [ledger, browser] = await Promise.all([Ledger.start(), startChromium()]);
});

afterAll(async () => {
  await browser.close();
  await ledger.stop();
});

test('a receipt is verified offline, and a changed one is refused', async () => {
  const { page, context, problems } = await signedIn(browser, ledger);
  await ledger.append('note.txt', 'evidence\n', ['--media-type', 'text/plain', '--receipt-dir', ledger.folder]);
  const receipt = readFileSync(join(ledger.folder, 'note.txt.receipt.json'), 'utf8');
  await page.goto(`${ledger.url}/portal/verify`);
  await settled(page);
  await page.getByText('No report yet').waitFor();
  const worker = page.workers()[0] ?? (await page.waitForEvent('worker'));
  await worker.evaluate(() => undefined); // it runs, and so needs no network
  await context.setOffline(true);
  await page.getByLabel('Trusted files').locator('input').setInputFiles(join(ledger.data, 'policy'));
  await page.getByText('is used as a trust policy of a log').waitFor();
  const file = (text: string) => ({
    name: 'note.receipt.json',
    mimeType: 'application/json',
    buffer: Buffer.from(text),
  });
  const input = page.getByRole('group', { name: 'Files to verify' }).locator('input');
  await input.setInputFiles(file(receipt));
  await page.getByText('Verified', { exact: true }).waitFor();
  await page.getByRole('region', { name: 'Proven', exact: true }).getByText('ledger.example.com').first().waitFor();
  const changed = receipt.replace(/(?<="tag":").{4}/, (tag) => (tag === 'AAAA' ? 'BBBB' : 'AAAA'));
  expect(changed).not.toBe(receipt);
  await input.setInputFiles(file(changed));
  await page.getByText('Refused', { exact: true }).waitFor();
  await page.getByRole('region', { name: 'First failing check' }).waitFor();
  await context.setOffline(false);
  expect(problems.filter((problem) => !/ERR_INTERNET_DISCONNECTED/.test(problem))).toEqual([]);
  await context.close();
});

test('the log is audited between two checkpoints, and a rollback is shown and kept', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await page.goto(`${ledger.url}/portal/audit`);
  await settled(page);
  const policies = page.locator('main input[type=file]');
  if (await policies.count()) await policies.setInputFiles(join(ledger.data, 'policy'));
  await page.getByText('The first that this browser has seen').waitFor();
  for (const n of [1, 2, 3]) await ledger.append(`more-${n}.txt`, `more ${n}\n`, ['--media-type', 'text/plain']);
  await page.getByRole('button', { name: 'Check again' }).click();
  await page.getByText('Contains all entries of the one before').waitFor();
  // The browser remembers a tree that the log has never had: a fork.
  await page.evaluate(() => {
    const key = Object.keys(localStorage).find((name) => name.startsWith('muniment-checkpoints ')) ?? '';
    const memory = JSON.parse(localStorage.getItem(key) ?? '') as { checkpoints: { note: string }[] };
    const last = memory.checkpoints.at(-1);
    if (last === undefined) throw new Error('no checkpoint is remembered');
    const lines = last.note.split('\n');
    lines[2] = btoa(String.fromCharCode(...new Uint8Array(32)));
    last.note = lines.join('\n');
    localStorage.setItem(key, JSON.stringify(memory));
  });
  await page.reload();
  await page.getByText('The log has forked').waitFor();
  await page.reload();
  await page.getByText('The log has forked').waitFor();
  await page.getByRole('button', { name: 'Save both checkpoints' }).waitFor();
  await context.close();
});

test('the quickstarts are filled in', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await page.goto(`${ledger.url}/portal/start`);
  await page.getByText(`export MUNIMENT_SERVER=${ledger.url}`).waitFor();
  await context.close();
});
