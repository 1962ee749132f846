/** Artifacts, controls, findings and exceptions, and decisions about them. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  ada,
  event,
  eve,
  found,
  gate,
  gateway,
  hostile,
  inDays,
  kim,
  lee,
  legacy,
  sha256,
  type Company,
} from './company.js';
import { settled, startChromium, violations } from './harness.js';
import { enter, signedInAs } from './people.js';

let company: Company;
let browser: Browser;

beforeAll(async () => {
  [company, browser] = await Promise.all([found(), startChromium()]);
});

afterAll(async () => {
  await browser.close();
  await company.ledger.stop();
});

const open = async (page: Page, path: string): Promise<void> => {
  await page.goto(`${company.ledger.url}/portal${path}`);
  await settled(page);
};

const verdict = (page: Page, word: string) =>
  page.getByRole('region', { name: 'Does it pass?' }).getByText(word, { exact: true }).first();

test('approving an exception changes the gate, and open pages follow', async () => {
  const { ledger, requested } = company;
  const watching = await signedInAs(browser, ledger, lee);
  await open(watching.page, `/artifacts/${legacy.digest}?stage=deploy&environment=production`);
  await verdict(watching.page, 'Blocked').waitFor();
  expect(await gate(ledger, legacy)).toBe('blocked');

  const approving = await signedInAs(browser, ledger, ada);
  await open(approving.page, '/exceptions?show=waiting');
  await approving.page.getByRole('link', { name: 'EXC-17' }).click();
  const effect = approving.page.getByRole('region', { name: 'What starts passing when it is approved' });
  await effect.getByText('1 decision starts passing.').waitFor();
  await effect.getByRole('link', { name: legacy.name }).waitFor();
  await approving.page.getByText(/except .*kim.*, who has requested it/u).waitFor();
  await approving.page.getByRole('button', { name: 'Approve' }).click();
  await approving.page.getByRole('button', { name: 'Approve EXC-17' }).click();
  await approving.page.getByText('Approved, recorded in the log').waitFor();
  await approving.page.locator('main header').getByText('In force').waitFor();

  expect(await gate(ledger, legacy)).toBe('pass');
  await verdict(watching.page, 'Pass').waitFor(); // without a reload
  await watching.page.getByText('Excepted', { exact: true }).first().waitFor();

  await approving.page
    .getByRole('region', { name: 'What stops passing when it ends' })
    .getByText('1 decision stops passing.')
    .waitFor();
  await approving.page.getByRole('button', { name: 'Revoke' }).click();
  await approving.page.getByRole('button', { name: 'Revoke EXC-17' }).click();
  await approving.page.getByText('Enter a reason. It is recorded.').waitFor();
  await approving.page.getByLabel('Reason').fill('the new host is up');
  await approving.page.getByRole('button', { name: 'Revoke EXC-17' }).click();
  await approving.page.getByText('Revoked, recorded in the log').waitFor();
  expect(await gate(ledger, legacy)).toBe('blocked');
  await verdict(watching.page, 'Blocked').waitFor();

  // What the page shows is what the log has: the decision's entry and receipt.
  await open(approving.page, `/exceptions/${requested}`);
  const history = approving.page.getByRole('region', { name: 'History' });
  await history.getByText('the new host is up').waitFor();
  await history
    .getByRole('link', { name: /^entry \d+$/u })
    .last()
    .click();
  await approving.page.waitForURL(/\/portal\/entries\/\d+$/u);
  expect([...watching.problems, ...approving.problems]).toEqual([]);
  await watching.context.close();
  await approving.context.close();
});

test('a request shows its effect, and its requester cannot approve it', async () => {
  const { ledger } = company;
  const { page, context, problems } = await signedInAs(browser, ledger, kim);
  await open(page, `/artifacts/${legacy.digest}?stage=deploy&environment=production`);
  await page.getByRole('link', { name: 'Request an exception' }).first().click();
  await page.getByRole('heading', { level: 1, name: 'Request an exception' }).waitFor();
  expect(await page.getByLabel('Artifacts, one digest on each line').inputValue()).toBe(legacy.digest);
  expect(await page.getByLabel('Environments, one on each line').inputValue()).toBe('production');
  await page.getByText('allows exceptions of at most 14 days, with 1 approval').waitFor();
  await page.getByText('1 decision starts passing.').waitFor();
  await page.getByRole('button', { name: 'Request the exception' }).click();
  await page.getByText('Enter a reason. It is recorded.').waitFor();
  await page.getByLabel('Reason').fill('outage 4711');
  await page.getByLabel('ID').fill('EXC-18'); // which is taken
  await page.getByRole('button', { name: 'Request the exception' }).click();
  await page.getByText(/requests exception EXC-18: choose another ID/u).waitFor();
  await page.getByLabel('ID').fill('EXC-19');
  await page.getByRole('button', { name: 'Request the exception' }).click();
  await page.getByRole('heading', { level: 1, name: 'Exception EXC-19' }).waitFor();
  await settled(page);
  await page
    .getByText(/You cannot approve it: .*kim requested exception EXC-19: another person must approve it/u)
    .waitFor();
  expect(await page.getByRole('button', { name: 'Approve' }).count()).toBe(0);
  expect(await gate(ledger, legacy)).toBe('blocked');
  // The requester can revoke it, and so leaves nothing behind.
  await page.getByRole('button', { name: 'Revoke' }).click();
  await page.getByLabel('Reason').fill('resolved');
  await page.getByRole('button', { name: 'Revoke EXC-19' }).click();
  await page.locator('main header').getByText('Revoked').waitFor();
  expect(problems).toEqual([`400 ${ledger.url}/muniment.v1.LedgerService/Append`]); // the ID that is taken
  await context.close();
});

test('a session that ends in the middle of a form loses nothing', async () => {
  const { ledger } = company;
  const { page, context } = await signedInAs(browser, ledger, kim);
  await open(page, `/exceptions/new?control=CHART-PROVENANCE&name=nightly-*`);
  await page.getByLabel('Reason').fill('the build host is replaced this week');
  const id = await page.getByLabel('ID').inputValue();
  const submit = page.getByRole('button', { name: 'Request the exception' });
  for (const lose of [
    () => context.clearCookies().then(() => submit.click()), // which is refused
    () => ledger.restart('SIGKILL'), // which ends the stream of new entries
  ]) {
    await lose();
    await page.getByRole('heading', { level: 1, name: 'Sign in' }).waitFor();
    await enter(page, ledger, kim);
    await page.getByRole('heading', { level: 1, name: 'Request an exception' }).waitFor();
    await settled(page);
    expect(await page.getByLabel('Reason').inputValue()).toBe('the build host is replaced this week');
    expect(await page.getByLabel('ID').inputValue()).toBe(id);
    expect(await page.getByLabel('Patterns of names, one on each line').inputValue()).toBe('nightly-*');
  }
  await submit.click();
  await page.getByRole('heading', { level: 1, name: `Exception ${id}` }).waitFor();

  // Another person who signs in in the same tab sees nothing of a draft.
  await open(page, `/exceptions/new?control=CHART-PROVENANCE&name=nightly-*`);
  await page.getByLabel('Reason').fill('a secret of kim');
  await context.clearCookies();
  await page.goto(`${ledger.url}/portal/signin`);
  await enter(page, ledger, ada);
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await open(page, `/exceptions/new?control=CHART-PROVENANCE&name=nightly-*`);
  expect(await page.getByLabel('Reason').inputValue()).toBe('');
  await context.close();
});

test('the decision at a time in the past has an address, and names its tree size', async () => {
  const { ledger, approved } = company;
  const { page, context, problems } = await signedInAs(browser, ledger, lee);
  await open(page, `/artifacts/${gateway.digest}?stage=deploy&environment=production`);
  await verdict(page, 'Pass').waitFor();
  await open(page, `/artifacts/${gateway.digest}?stage=deploy&environment=production&at=3`);
  await page.getByText('This is a decision about the past').waitFor();
  await page.getByText('from 3 entries of the log').waitFor();
  await open(page, `/artifacts/${gateway.digest}?stage=deploy&environment=production&at=${approved}`);
  await page.getByText(`from ${approved} entries of the log`).waitFor();
  await page.getByLabel('At a time in the past').fill('2020-01-01T00:00');
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await page.waitForURL(/at=2019-12-31T23(:|%3A)00(:|%3A)00\.000Z/u);
  await page.getByText('No control set is in force').waitFor();
  await page.getByRole('button', { name: 'Back to now' }).click();
  await verdict(page, 'Pass').waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('a replay finds what a stricter control would have blocked', async () => {
  const { ledger } = company;
  const { page, context, problems } = await signedInAs(browser, ledger, lee);
  await open(page, '/controls/CHART-SCANNED?days=7d');
  const replay = page.getByRole('region', { name: 'What would this have blocked?' });
  await replay.getByRole('button', { name: 'Replay' }).click();
  await replay.getByText(/[1-9]\d* would be blocked/u).waitFor();
  await replay.getByRole('link', { name: gateway.name }).first().waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('a replay that waits for the server can be canceled, and started again', async () => {
  const { ledger } = company;
  const { page, context, problems } = await signedInAs(browser, ledger, lee);
  await open(page, '/controls/CHART-SCANNED?days=7d');
  const replay = page.getByRole('region', { name: 'What would this have blocked?' });
  const ended = page.waitForEvent('requestfailed', (request) => request.url().endsWith('.GateService/Replay'));
  await ledger.whilePaused(async () => {
    await replay.getByRole('button', { name: 'Replay' }).click();
    await replay.getByRole('progressbar', { name: 'Replay' }).waitFor();
    expect(await replay.getByRole('button', { name: 'Replay' }).isDisabled()).toBe(true);
    await replay.getByRole('button', { name: 'Cancel' }).click();
    await replay.getByText('The replay was canceled').waitFor();
    await ended; // so that the server stops, too
  });
  expect(await replay.getByRole('button', { name: 'Cancel' }).count()).toBe(0);
  expect(await replay.getByRole('progressbar').count()).toBe(0);
  await replay.getByRole('button', { name: 'Replay' }).click();
  await replay.getByText(/[1-9]\d* would be blocked/u).waitFor();
  expect(await replay.getByText('The replay was canceled').count()).toBe(0);
  expect(problems).toEqual([]);
  await context.close();
});

test('a rejected exception never counts, and shows its effect until then', async () => {
  const { ledger } = company;
  const chart = { name: 'rejected-1.0.0.tgz', digest: sha256('rejected 1.0.0') };
  expect(await gate(ledger, chart)).toBe('blocked');
  const request = await event(ledger, kim, 'exception-request', {
    id: 'EXC-REJECT',
    control: 'CHART-PROVENANCE',
    scope: { globs: ['rejected-*'] },
    reason: 'there is no time for a provenance',
    expires: inDays(5),
  });
  const { page, context, problems } = await signedInAs(browser, ledger, ada);
  await open(page, `/exceptions/${request}`);
  const effect = page.getByRole('region', { name: 'What starts passing when it is approved' });
  await effect.getByText('1 decision starts passing.').waitFor();
  await effect.getByRole('link', { name: chart.name }).waitFor();
  await page.getByRole('button', { name: 'Reject' }).click();
  await page.getByRole('button', { name: 'Reject EXC-REJECT' }).click();
  await page.getByText('Enter a reason. It is recorded.').waitFor();
  await page.getByLabel('Reason').fill('time is no reason');
  await page.getByRole('button', { name: 'Reject EXC-REJECT' }).click();
  await page.getByText('Rejected, recorded in the log').waitFor();
  await page.locator('main header').getByText('Rejected').waitFor();
  await effect.waitFor({ state: 'detached' });
  const history = page.getByRole('region', { name: 'History' });
  await history.getByText('time is no reason').waitFor();
  for (const action of ['Approve', 'Renew', 'Reject', 'Revoke'])
    expect(await page.getByRole('button', { name: action, exact: true }).count(), action).toBe(0);
  expect(await gate(ledger, chart)).toBe('blocked');
  expect(problems).toEqual([]);
  await context.close();
});

test('an exception is renewed by another person, and ends later', async () => {
  const { ledger } = company;
  const chart = { name: 'renewed-1.0.0.tgz', digest: sha256('renewed 1.0.0') };
  const request = await event(ledger, kim, 'exception-request', {
    id: 'EXC-RENEW',
    control: 'CHART-PROVENANCE',
    scope: { globs: ['renewed-*'] },
    reason: 'the build host is replaced',
    expires: inDays(3),
  });
  await event(ledger, ada, 'exception-decision', {
    exception: 'EXC-RENEW',
    request: String(request),
    decision: 'approve',
  });
  expect(await gate(ledger, chart)).toBe('pass');
  const { page, context, problems } = await signedInAs(browser, ledger, ada);
  await open(page, '/exceptions?expires=7d');
  await page.getByRole('link', { name: 'EXC-RENEW' }).click();
  const effect = page.getByRole('region', { name: 'What stops passing when it ends' });
  await effect.getByText('1 decision stops passing.').waitFor();
  await effect.getByRole('link', { name: chart.name }).waitFor();
  await page.getByRole('button', { name: 'Renew' }).click();
  const end = page.getByLabel('New end');
  const proposed = await end.inputValue(); // a week later
  expect(Date.parse(proposed) - Date.now()).toBeGreaterThan(9 * 86_400_000);
  await end.fill('');
  await page.getByLabel('Reason').fill('the new host comes next week');
  await page.getByRole('button', { name: 'Renew EXC-RENEW' }).click();
  await page.getByText('Enter a day and a time.').waitFor();
  await end.fill(proposed);
  await page.getByRole('button', { name: 'Renew EXC-RENEW' }).click();
  await page.getByText('Renewed, recorded in the log').waitFor();
  const day = proposed.slice(0, 10);
  await page.getByRole('region', { name: 'The exception' }).getByText(day).waitFor();
  const history = page.getByRole('region', { name: 'History' });
  await history.getByText('Renewed').waitFor();
  await history.getByText('the new host comes next week').waitFor();
  await effect.getByText('1 decision stops passing.').waitFor(); // it still counts
  await page.goto(`${ledger.url}/portal/exceptions?expires=7d`);
  await settled(page);
  await page.getByRole('link', { name: 'EXC-18' }).waitFor();
  expect(await page.getByRole('link', { name: 'EXC-RENEW' }).count()).toBe(0);
  expect(await gate(ledger, chart)).toBe('pass');
  expect(problems).toEqual([]);
  await context.close();
});

const addresses = (): [view: string, path: string, missing: string][] => [
  ['artifact', `/artifacts/${legacy.digest}`, `/artifacts/${sha256('nothing')}`],
  ['artifact in the past', `/artifacts/${gateway.digest}?at=5`, `/artifacts/${sha256('nothing')}?at=5`],
  ['control', '/controls/CHART-PROVENANCE', '/controls/NOTHING-AT-ALL'],
  ['finding', '/findings/AUD-1', '/findings/NO-1'],
  ['finding by its entry', '/findings/AUD-1?first=12', '/findings/NO-1?first=12'],
  ['findings about an artifact', `/findings?artifact=${legacy.digest}`, `/findings?artifact=${sha256('nothing')}`],
  ['exception', `/exceptions/${company.requested}`, '/exceptions/999999'],
  ['approved exception', `/exceptions/${company.approved}`, '/exceptions/999999'],
  ['exceptions from a control', '/exceptions?control=CHART-PROVENANCE', '/exceptions?control=NOTHING-AT-ALL'],
];

test('another tenant sees the same as if nothing existed', async () => {
  const { ledger } = company;
  const { page, context } = await signedInAs(browser, ledger, eve);
  const shown = async (path: string): Promise<string> => {
    await open(page, path);
    const text = await page.locator('main').innerText();
    return text
      .replaceAll(/sha256:[0-9a-f]+…?[0-9a-f]*/gu, 'DIGEST')
      .replaceAll(/CHART-PROVENANCE|NOTHING-AT-ALL|AUD-1|NO-1/gu, 'ID')
      .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/gu, 'TIME')
      .replaceAll(/entry \d+|\d+ entries/gu, 'ENTRY');
  };
  for (const [view, path, missing] of addresses()) {
    const text = await shown(path);
    expect.soft(text, view).toBe(await shown(missing));
    expect.soft(text, view).not.toMatch(/legacy|gateway|kim|ada|EXC-1|audit/iu);
  }
  for (const path of ['/controls', '/findings', '/exceptions'])
    expect.soft(await shown(path), path).not.toMatch(/legacy|gateway|kim|EXC-1|AUD|CHART/u);
  await context.close();
});

test('hostile texts are shown as texts, on accessible pages', async () => {
  const { ledger, requested } = company;
  const { page, context, problems } = await signedInAs(browser, ledger, ada, { viewport: { width: 360, height: 740 } });
  const views: [path: string, text: string][] = [
    [`/artifacts/${sha256('evil')}`, hostile.name],
    [`/artifacts/${gateway.digest}`, gateway.name],
    ['/controls', 'Charts have a provenance'],
    ['/controls/CHART-PROVENANCE', '<iframe src=https://evil.example></iframe>\\u{0}\\u{1b}[31m'],
    ['/findings', `<img src=x onerror="document.title='owned'">\\u{202e}gnp.exe`],
    ['/findings/AUD-1', `<img src=x onerror="document.title='owned'">\\u{202e}gnp.exe`],
    ['/exceptions', 'EXC-17'],
    [`/exceptions/${requested}`, hostile.reason],
    ['/exceptions/new', 'Control that shall not apply'],
  ];
  for (const [path, text] of views) {
    await open(page, path);
    await page.locator('main').getByText(text, { exact: false }).first().waitFor();
    expect.soft(await page.title(), path).not.toContain('owned\u0000');
    expect.soft(await page.evaluate(() => document.title), path).toMatch(/ · Muniment$/u);
    expect.soft(await page.locator('main :is(iframe, script, img, object, embed)').count(), path).toBe(0);
    expect.soft(await page.locator('main a[href^="javascript:"]').count(), path).toBe(0);
    expect.soft(await violations(page), path).toEqual([]);
    expect.soft(await page.evaluate(() => document.documentElement.scrollWidth), path).toBe(360);
  }
  expect(problems).toEqual([]);
  await context.close();
});

test('what expires this week has an address', async () => {
  const { ledger } = company;
  await event(ledger, kim, 'exception-request', {
    id: 'EXC-LATER',
    control: 'CHART-PROVENANCE',
    scope: { globs: ['later-*'] },
    reason: 'later',
    expires: inDays(13),
  });
  const { page, context } = await signedInAs(browser, ledger, ada);
  await open(page, '/exceptions?expires=7d');
  await page.getByRole('link', { name: 'EXC-18' }).waitFor();
  expect(await page.getByRole('link', { name: 'EXC-LATER' }).count()).toBe(0);
  await page.getByRole('link', { name: 'All' }).click();
  await page.getByRole('link', { name: 'EXC-LATER' }).waitFor();
  await context.close();
});
