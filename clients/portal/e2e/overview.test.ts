/** The overview of a tenant that has nothing, and of one with everything. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ada, eve, found, gate, hostile, kim, legacy, type Company } from './company.js';
import { settled, startChromium, violations } from './harness.js';
import { signedInAs } from './people.js';
import { connectSystems, recordBackfill, recordCaches } from './systems.js';

let company: Company;
let browser: Browser;

beforeAll(async () => {
  [company, browser] = await Promise.all([found(), startChromium()]);
  await connectSystems(company);
});

afterAll(async () => {
  await browser.close();
  await company.ledger.stop();
});

const open = async (page: Page): Promise<void> => {
  await page.goto(`${company.ledger.url}/portal/`);
  await settled(page);
};

const part = (page: Page, name: string) => page.getByRole('region', { name, exact: true });

/** The cells of the row that begins with a name. */
const row = async (page: Page, table: string, name: string | RegExp): Promise<string[]> =>
  await page
    .getByRole('table', { name: table, exact: true })
    .getByRole('row')
    .filter({ has: page.getByRole('rowheader', { name, exact: true }) })
    .first()
    .locator('th, td')
    .allInnerTexts();

test('what is not connected has commands instead of charts', async () => {
  const { page, context, problems } = await signedInAs(browser, company.ledger, eve, {
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  await open(page);
  const others = part(page, 'Not connected yet');
  const titles = await others.getByRole('heading', { level: 3 }).allInnerTexts();
  expect(titles).toEqual([
    'Decisions',
    'Exceptions',
    'Findings',
    'Coverage',
    'Caches',
    'Verification by SDKs',
    'Triage',
    'Backfills',
  ]);
  expect(await page.locator('main figure').count()).toBe(0);
  expect(await page.getByText('The clock of this computer').count()).toBe(0);
  await others.getByRole('button', { name: 'Copy command: Findings' }).click();
  await others.getByText('Copied').first().waitFor();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('muniment finding import findings.csv');
  await part(page, 'Log').getByText('Healthy').waitFor();
  expect(await violations(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});

test('every part shows its numbers, which lead to what explains them', async () => {
  const { page, context, problems, calls } = await signedInAs(browser, company.ledger, kim);
  calls.length = 0;
  await open(page);
  expect(new Set(calls)).toContain('muniment.v1.PortalService/GetOverview');
  expect(calls.length).toBeLessThanOrEqual(5);
  expect(await part(page, 'Not connected yet').count()).toBe(0);

  expect(await row(page, 'Decisions today, per stage', 'deploy')).toEqual(['deploy', '1', '1', '0']);
  expect((await row(page, 'Newest checkpoints of backfills', 'Asset')).slice(0, 3)).toEqual(['Asset', '75%', '0.92']);
  expect((await row(page, 'Newest steps of the backfill', 'rehearsal')).slice(0, 2)).toEqual(['rehearsal', 'Failed']);
  expect((await row(page, 'Newest snapshots of caches', 'asset-service')).slice(0, 3)).toEqual([
    'asset-service',
    '91 ms',
    '89%',
  ]);
  expect(await row(page, 'Reports per verifier', 'muniment-python')).toEqual(['muniment-python', '3', '1', '0']);
  await part(page, 'Verification by SDKs').getByText('75%').waitFor();
  await part(page, 'Triage').getByText('mean time to action, of 1 incident').waitFor();
  await part(page, 'Triage').getByRole('link', { name: '10 min' }).waitFor();
  await part(page, 'Findings').getByText('of 2 resolved with linked evidence').waitFor();

  for (const [region, link, path, title] of [
    ['Findings', '2', '/findings?show=unresolved', 'Findings'],
    ['Decisions today', legacy.name, `/artifacts/${legacy.digest}?stage=deploy&environment=production`, legacy.name],
    ['Exceptions', 'EXC-18', `/exceptions/${company.approved}`, 'Exception EXC-18'],
    ['Exceptions', 'EXC-17', `/exceptions/${company.requested}`, 'Exception EXC-17'],
    ['Triage', 'INC-2041', '/incidents/INC-2041', 'Incident INC-2041'],
  ] as const) {
    await part(page, region).getByRole('link', { name: link, exact: true }).first().click();
    await page.waitForURL((url) => decodeURIComponent(url.href).endsWith(`/portal${path}`));
    await page.getByRole('heading', { level: 1 }).filter({ hasText: title }).waitFor();
    await page.goBack();
    await part(page, region).waitFor();
  }
  await settled(page);
  expect(await page.title()).toBe('Overview · Muniment');
  expect(await page.content()).not.toContain(hostile.title); // as markup
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 800 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  expect(await violations(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});

test('an open overview follows the log', async () => {
  const { page, context } = await signedInAs(browser, company.ledger, ada);
  await open(page);
  const tile = page.getByRole('link', { name: /^Stopped today/u });
  await tile.getByText('of 2 decisions').waitFor();
  await gate(company.ledger, legacy, 'deploy', 'staging');
  await tile.getByText('of 3 decisions').waitFor(); // without a reload
  await tile.getByText('2', { exact: true }).waitFor();
  await context.close();
});

test('a clock that is far off is named, and hides nothing', async () => {
  const { page, context } = await signedInAs(browser, company.ledger, ada);
  await page.clock.setFixedTime(Date.now() + 10 * 86_400_000);
  await open(page);
  await page.getByText('The clock of this computer is not that of the server').waitFor();
  await part(page, 'Exceptions').getByRole('link', { name: 'EXC-17' }).waitFor();
  await context.close();
});

test('a backfill shows its checkpoints, and verifies what it shows', async () => {
  const { page, context, problems, calls } = await signedInAs(browser, company.ledger, kim);
  await page.goto(`${company.ledger.url}/portal/backfills`);
  await settled(page);
  expect((await row(page, 'Backfills', 'asset.yaml')).slice(1, 4)).toEqual(['Asset', 'Planned', 'none']);
  const digest = await recordBackfill(company);
  await page.getByRole('link', { name: 'order-total.yaml' }).click();
  await part(page, 'Now').waitFor();
  await page.goto('about:blank');
  calls.length = 0;
  await page.goto(`${company.ledger.url}/portal/backfills/sha256:${digest}`);
  await settled(page);
  const asked = calls.filter((call) => !/WatchEntries|GetCheckpoint/u.test(call)); // those are of the frame
  expect(asked.length, asked.join(' ')).toBeLessThanOrEqual(5);
  await page.getByRole('heading', { level: 1, name: 'Backfill order-total.yaml' }).waitFor();
  await part(page, 'Now').getByText('no longer: the old column is gone').waitFor();
  expect((await row(page, 'Checkpoints', '100%')).slice(1, 4)).toEqual(['1', 'Pass', 'Ready']);
  expect((await row(page, 'Steps', 'finish')).slice(1, 2)).toEqual(['Succeeded']);
  await part(page, 'Rehearsal').getByText('verified in this browser').waitFor();
  await page.getByRole('link', { name: 'Show those of 10%' }).click();
  await part(page, 'Canary analysis at 10%').getByText('9 of 9 required checks passed').waitFor();
  expect((await row(page, 'Checks at 10%', 'checksum-down')).slice(2, 3)).toEqual(['Pass']);
  await page.getByRole('button', { name: 'Verify all receipts' }).click();
  await part(page, 'Receipts').getByText('34 receipts verified in this browser').waitFor();
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 800 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  expect(await violations(page)).toEqual([]);
  await page.getByRole('link', { name: 'All evidence about the file' }).click();
  await page.getByRole('link', { name: 'its steps, checkpoints and rehearsal' }).waitFor();
  expect(decodeURIComponent(page.url())).toContain(`/artifacts/sha256:${digest}`);
  expect(problems).toEqual([]);
  await context.close();
});

test('without backfills, the list states how to run one', async () => {
  const { page, context, problems } = await signedInAs(browser, company.ledger, eve);
  await page.goto(`${company.ledger.url}/portal/backfills`);
  await page.getByText('No backfill has been recorded').waitFor();
  await page.goto(`${company.ledger.url}/portal/backfills/sha256:${'0'.repeat(64)}`);
  await page.getByText('The log has no steps of this backfill').waitFor();
  expect(await violations(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});

test('a cache shows its windows, and verifies what it shows', async () => {
  const { page, context, problems, calls } = await signedInAs(browser, company.ledger, kim);
  const cache = 'checkout/Query.price';
  await page.goto(`${company.ledger.url}/portal/caches`);
  await page.getByText('No cache has recorded a window').waitFor(); // the snapshots are of something else
  const windows = (await recordCaches(company)) / 2;
  await page.getByRole('link', { name: cache }).click(); // without a reload
  await part(page, `${windows} windows`).waitFor();
  await page.goto('about:blank');
  calls.length = 0;
  await page.goto(`${company.ledger.url}/portal/caches/${encodeURIComponent(cache)}`);
  await settled(page);
  const asked = calls.filter((call) => !/WatchEntries|GetCheckpoint/u.test(call)); // those are of the frame
  expect(asked.length, asked.join(' ')).toBeLessThanOrEqual(5);
  await page.getByRole('heading', { level: 1, name: `Cache ${cache}` }).waitFor();
  expect(await page.getByRole('img', { name: `Waits of ${cache}` }).count()).toBe(1);
  const last = page.getByRole('table', { name: 'Windows', exact: true }).getByRole('rowheader').last();
  await last.getByRole('link').click();
  await part(page, 'Window').getByText('3,816 of 4,045 reads were answered from memory, each').waitFor();
  await part(page, 'Window').getByText('Receipt and payload verified in this browser').waitFor();
  expect(new URL(page.url()).searchParams.has('window')).toBe(true);
  await page.getByRole('button', { name: 'Verify all receipts' }).click();
  await part(page, 'Receipts').getByText(`${windows} receipts verified in this browser`).waitFor();
  expect(await violations(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 800 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  expect(await violations(page)).toEqual([]);
  await part(page, 'Window')
    .getByRole('link', { name: /^entry/u })
    .click();
  await page.getByRole('heading', { level: 1, name: /^Entry/u }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('the caches of a tenant are not shown to others', async () => {
  const { page, context, problems } = await signedInAs(browser, company.ledger, eve);
  await page.goto(`${company.ledger.url}/portal/caches`);
  await page.getByText('No cache has recorded a window').waitFor();
  await page.goto(`${company.ledger.url}/portal/caches/${encodeURIComponent('checkout/Query.price')}`);
  await page.getByText('The log has no windows of this cache').waitFor();
  expect(await violations(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});
