/** Incidents of the triage, and the requests of persons. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ada, eve, found, lee, type Company } from './company.js';
import { settled, startChromium, violations } from './harness.js';
import { signedInAs, submitterOf } from './people.js';
import { recordIncident, type Waiting } from './systems.js';

let company: Company;
let browser: Browser;
let incident: Waiting;

beforeAll(async () => {
  [company, browser] = await Promise.all([found(), startChromium()]);
  incident = await recordIncident(company);
});

afterAll(async () => {
  await browser.close();
  await company.ledger.stop();
});

const part = (page: Page, name: string) => page.getByRole('region', { name, exact: true });

/** Returns the document of the entry that the page has recorded. */
async function recorded(page: Page): Promise<Record<string, unknown>> {
  const entry = page.locator('main [role=status]').getByRole('link', { name: /^entry \d+$/u });
  const index = (await entry.textContent())?.replace('entry ', '') ?? '';
  return JSON.parse(await company.ledger.command(['get', index, '--payload'])) as Record<string, unknown>;
}

test('a step is approved from a notice that the browser has verified', async () => {
  const { page, context, problems, calls } = await signedInAs(browser, company.ledger, ada);
  await page.goto(`${company.ledger.url}/portal/incidents`);
  await settled(page);
  const row = page.getByRole('table', { name: 'Incidents' }).getByRole('row', { name: '016a05057c41-3' });
  expect((await row.getByRole('cell').allTextContents()).slice(0, 2)).toEqual(['P1-surge', 'Waiting for a person']);
  await page.getByRole('link', { name: 'Escalated' }).click();
  await page.getByText('No incident is like this').waitFor();
  await page.goto('about:blank');
  calls.length = 0;
  await page.goto(`${company.ledger.url}/portal/incidents/${encodeURIComponent(incident.id)}`);
  await settled(page);
  const asked = calls.filter((call) => !/WatchEntries|GetCheckpoint/u.test(call)); // those are of the frame
  expect(asked.length, asked.join(' ')).toBeLessThanOrEqual(5);
  const course = part(page, 'Course');
  await course.getByText('ErrorRatioHigh').waitFor();
  await course.getByText('Kept: somebody else has changed the target since').waitFor();
  await page.getByRole('button', { name: 'Verify all receipts' }).click();
  await part(page, 'Receipts').getByText('5 receipts verified in this browser').waitFor();
  expect(await course.getByText('Verified').count()).toBe(3);
  expect(await violations(page)).toEqual([]);

  const waiting = part(page, 'A step waits for a person');
  await waiting.getByText('limit/gateway').waitFor();
  await waiting.getByRole('button', { name: 'Approve' }).click();
  const dialog = page.getByRole('dialog', { name: 'Approve the step' });
  await dialog.getByText('Receipt and payload verified in this browser').waitFor();
  await dialog.getByText('raise_limit').waitFor();
  expect(await violations(page, '[role=dialog]')).toEqual([]);
  await dialog.getByRole('button', { name: 'Approve' }).click();
  await page.getByText('Approved, recorded in the log').waitFor();
  const { started, ...others } = await recorded(page);
  expect(started).toMatch(/^\d{4}-/u);
  expect(others).toEqual({
    incident: incident.id,
    playbook: 'P1-surge',
    action: 'approve',
    parameters: { request: incident.leafHash, place: 2 },
    result: 'succeeded',
    irreversible: true,
    actor: submitterOf('ada'),
  });
  await waiting.getByText('you have answered already').waitFor();
  await page.setViewportSize({ width: 360, height: 800 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  expect(await violations(page)).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
});

test('a misfire is marked with a reason, and its type is released', async () => {
  const { page, context, problems } = await signedInAs(browser, company.ledger, ada);
  await page.goto(`${company.ledger.url}/portal/incidents/${encodeURIComponent(incident.id)}`);
  await page.getByRole('button', { name: 'Mark as misfire' }).click();
  const misfire = page.getByRole('dialog').getByRole('button', { name: 'Mark as misfire' });
  await misfire.click();
  await page.getByText('Enter a reason. It is recorded.').waitFor();
  await page.getByLabel('Reason').fill('the alert was about a test');
  await misfire.click();
  await page.getByText('Marked as a misfire, recorded in the log').waitFor();
  expect(await recorded(page)).toMatchObject({ action: 'misfire', incident: incident.id });
  await incident.record('quarantine', { result: 'succeeded', irreversible: true });
  await page.getByRole('button', { name: 'Release the type' }).click(); // without a reload
  await page.getByLabel('Reason').fill('the matcher excludes tests');
  await page.getByRole('dialog').getByRole('button', { name: 'Release the type' }).click();
  await page.getByText('Released, recorded in the log').waitFor();
  await page.getByText('P1-surge is quarantined').waitFor({ state: 'detached' });
  expect(problems).toEqual([]);
  await context.close();
});

test('the kill switch is turned on after a confirmation, and off again', async () => {
  const { page, context, problems } = await signedInAs(browser, company.ledger, ada);
  await page.goto(`${company.ledger.url}/portal/incidents/${encodeURIComponent(incident.id)}`);
  const press = async (name: string, reason: string) => {
    await page.getByRole('button', { name, exact: true }).click(); // without a reload
    await page.getByLabel('Reason').fill(reason);
    await page.getByRole('dialog').getByRole('button', { name, exact: true }).click();
    await page.getByText(`${name}, recorded in the log`).waitFor();
  };
  await press('Kill switch on', 'change freeze');
  expect(await recorded(page)).toMatchObject({ action: 'kill', incident: '*', playbook: '*', detail: 'change freeze' });
  await press('Kill switch off', 'the freeze is over');
  expect(await recorded(page)).toMatchObject({ action: 'unkill', incident: '*', playbook: '*' });
  expect(problems).toEqual([]);
  await context.close();
});

test('a reader learns which role a request needs, and another tenant sees nothing', async () => {
  const reader = await signedInAs(browser, company.ledger, lee);
  await reader.page.goto(`${company.ledger.url}/portal/incidents/${encodeURIComponent(incident.id)}`);
  await reader.page.getByText('requests about incidents require the role approver or admin').waitFor();
  expect(await reader.page.getByRole('button', { name: 'Undo the steps' }).count()).toBe(0);
  const other = await signedInAs(browser, company.ledger, eve);
  await other.page.goto(`${company.ledger.url}/portal/incidents`);
  await other.page.getByText('conductor triage serve').waitFor();
  expect([...reader.problems, ...other.problems]).toEqual([]);
  await reader.context.close();
  await other.context.close();
});
