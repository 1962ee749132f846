/** Lists of more than one page. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { found, inDays, kim, lee, sha256, type Company } from './company.js';
import { settled, startChromium } from './harness.js';
import { personToken, signedInAs } from './people.js';

let company: Company;
let browser: Browser;
const rows = 230;
const chart = { name: 'paged-1.0.0.tgz', digest: sha256('paged') };

beforeAll(async () => {
  [company, browser] = await Promise.all([found(), startChromium()]);
  await fill(company);
});

afterAll(async () => {
  await browser.close();
  await company.ledger.stop();
});

/** Records findings about one chart, in one request. */
async function fill({ ledger }: Company): Promise<void> {
  const submissions = Array.from({ length: rows }, (_, i) => {
    const id = `PAGED-${String(i).padStart(3, '0')}`;
    const finding = {
      id,
      title: `finding ${id}`,
      severity: 'low',
      status: 'open',
      source: 'external audit',
      detected: inDays(-1),
      subjects: [{ name: chart.name, digest: { sha256: chart.digest.slice(7) } }],
    };
    const payload = Buffer.from(JSON.stringify(finding)).toString('base64');
    return { kind: 'finding', payload, idempotencyKey: id.toLowerCase() };
  });
  const response = await fetch(`${ledger.url}/muniment.v1.LedgerService/AppendBatch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${await personToken(ledger, kim)}` },
    body: JSON.stringify({ tenant: 'acme', submissions }),
  });
  const answer = await response.text();
  if (!response.ok || answer.includes('"error"')) throw new Error(`AppendBatch: ${answer.slice(0, 2000)}`);
}

const lists = [
  { label: 'findings', path: `/findings?artifact=${chart.digest}` },
  { label: 'the timeline', path: `/artifacts/${chart.digest}` },
];

test.each(lists)('$label: Next, Previous, the history and a reload lead to the right page', async (list) => {
  const { page, context, problems } = await signedInAs(browser, company.ledger, lee);
  await page.goto(`${company.ledger.url}/portal${list.path}`);
  const pages = page.getByRole('navigation', { name: `Pages of ${list.label}` });
  const at = (first: number) => pages.getByText(new RegExp(`^${first} to \\d+( of \\d+)?$`, 'u')).waitFor();
  const press = (name: string) => pages.getByRole('button', { name }).click();
  await at(1);
  const first = await contents(page);
  await press('Next');
  await at(101);
  const second = await contents(page);
  expect(second).not.toBe(first);
  await press('Next');
  await at(201);
  expect(await pages.getByRole('button', { name: 'Next' }).isDisabled()).toBe(true);
  await page.reload();
  await at(201);
  await press('Previous');
  await at(101);
  expect(await contents(page)).toBe(second);
  await page.goBack();
  await at(201);
  await page.goBack();
  await at(101);
  await press('Previous'); // which the history has not confused
  await at(1);
  expect(await contents(page)).toBe(first);
  expect(await pages.getByRole('button', { name: 'Previous' }).isDisabled()).toBe(true);
  await page.goBack();
  await at(101);

  // Somebody who gets the address has the same page, and a way to the first.
  const other = await context.newPage();
  await other.goto(page.url());
  const there = other.getByRole('navigation', { name: `Pages of ${list.label}` });
  await there.getByText(/^101 to /u).waitFor();
  expect(await contents(other)).toBe(second);
  await there.getByRole('button', { name: 'Previous' }).click();
  await there.getByText(/^1 to /u).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

/** Returns where the rows of the list lead. */
async function contents(page: Page): Promise<string> {
  await settled(page);
  const links = await page.locator('main a[href]').evaluateAll((all) => all.map((link) => link.getAttribute('href')));
  return links.filter((href) => /\/(entries|findings|artifacts)\/./u.test(href ?? '')).join(' ');
}
