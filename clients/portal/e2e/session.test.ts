/** Sessions of people, who sign in with the real provider. */

import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Ledger, openPage, settled, signIn, startChromium, violations, type Watched } from './harness.js';
import { addPeople, type Member } from './people.js';
import { authenticate, Provider, provider } from './provider.js';

const dana: Member = { sub: 'dana', tenant: 'acme', role: 'approver', name: 'Dana Example' };
const accounts = {
  dana: { sub: 'dana', password: 'correct horse' },
  lee: { sub: 'lee', password: 'no rule for me' },
};

let ledger: Ledger;
let browser: Browser;
let company: Provider;
/** A page whose session ends by itself while the other tests run. */
let expiring: Watched;

beforeAll(async () => {
  [ledger, browser] = await Promise.all([Ledger.start(), startChromium()]);
  company = await Provider.start(ledger.url, Object.values(accounts));
  ledger.file('data/login.secret', provider.secret);
  const { name, displayName, client } = provider;
  await addPeople(ledger, [dana], {
    url: company.url,
    settings: `sign_in: {name: ${name}, display_name: ${displayName}, client_id: ${client}, client_secret_file: login.secret}`,
  });
  expiring = await openPage(await browser.newContext(), ledger);
  const token = await ledger.command(['token', 'issue', 'desk', '--role', 'reader', '--expires', '60s']);
  await signIn(expiring.page, ledger, token.trim());
});

afterAll(async () => {
  await browser.close();
  await company.stop();
  await ledger.stop();
});

const heading = (page: Page, name: string) => page.getByRole('heading', { level: 1, name });

/** Opens a view in a new browser, and goes to the provider. */
async function toProvider(path: string): Promise<Watched & { context: BrowserContext }> {
  const context = await browser.newContext();
  const watched = await openPage(context, ledger, [company.url]);
  await watched.page.goto(`${ledger.url}/portal${path}`);
  await watched.page.getByRole('link', { name: `Continue with ${provider.displayName}` }).click();
  await watched.page.getByLabel('Password').waitFor();
  return { ...watched, context };
}

test('a person signs in with the provider, and out', async () => {
  const { page, context, problems } = await toProvider('/');
  expect(page.url().startsWith(company.url)).toBe(true);
  await authenticate(page, accounts.dana);
  await heading(page, 'Overview').waitFor();
  await settled(page);
  expect(page.url()).toBe(`${ledger.url}/portal/`);
  await page.getByText('Live', { exact: true }).waitFor();

  await page.getByRole('button', { name: 'Tenant acme, session' }).click();
  const menu = page.getByRole('dialog', { name: 'Session' });
  for (const text of ['Dana Example', 'approver', provider.displayName]) await menu.getByText(text).waitFor();
  expect(await violations(page, '[role=dialog]')).toEqual([]);

  const cookies = await context.cookies(ledger.url);
  expect(cookies.map(({ name }) => name)).toEqual(['__Host-muniment-session']);
  expect(cookies[0]).toMatchObject({ httpOnly: true, secure: true, path: '/', sameSite: 'Strict' });
  const readable = await page.evaluate(() => document.cookie + JSON.stringify([localStorage, sessionStorage]));
  expect(readable).not.toMatch(/eyJ|muniment-session|token/u);

  await menu.getByRole('button', { name: 'Sign out' }).click();
  await heading(page, 'Sign in').waitFor();
  expect(await context.cookies(ledger.url)).toEqual([]);
  await page.goBack();
  await heading(page, 'Sign in').waitFor();
  expect(await page.getByText('Dana Example').count()).toBe(0);
  expect(problems).toEqual([]);
  await context.close();
});

test('a sign-in leads to the view that asked for it, in every tab', async () => {
  const { page, context, problems } = await toProvider('/findings?show=unresolved');
  await authenticate(page, accounts.dana);
  await heading(page, 'Findings').waitFor();
  expect(new URL(page.url()).search).toBe('?show=unresolved');
  const other = await openPage(context, ledger);
  await other.page.goto(`${ledger.url}/portal/controls`);
  await heading(other.page, 'Controls').waitFor();
  await settled(other.page);

  await page.getByRole('button', { name: 'Tenant acme, session' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await heading(page, 'Sign in').waitFor();
  await heading(other.page, 'Sign in').waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('somebody without a rule does not come in, and learns why', async () => {
  const { page, context, problems } = await toProvider('/');
  await authenticate(page, { ...accounts.lee, password: 'wrong' });
  await page.getByText('username or password wrong').waitFor();
  expect(page.url().startsWith(company.url)).toBe(true);
  await page.goBack();
  await authenticate(page, accounts.lee);
  await heading(page, 'Sign in').waitFor();
  await page.getByText('No tenant has a rule for you').waitFor();
  await page.getByText('under the request').waitFor();
  expect(await violations(page)).toEqual([]);
  expect(await context.cookies(ledger.url)).toEqual([]);
  expect(problems).toEqual([expect.stringMatching(new RegExp(`^401 ${company.url}/`, 'u'))]);
  await context.close();
});

test('a response that was used before gives no session', async () => {
  const { page, context } = await toProvider('/');
  const response = page.waitForRequest((request) => request.url().startsWith(`${ledger.url}/portal/callback?`));
  await authenticate(page, accounts.dana);
  const used = (await response).url();
  await heading(page, 'Overview').waitFor();
  const before = await context.cookies(ledger.url);
  await page.goto(used);
  await heading(page, 'Overview').waitFor(); // of the session that there is
  expect(await context.cookies(ledger.url)).toEqual(before);
  await context.clearCookies();
  await page.goto(used);
  await page.getByText('was begun in another browser').waitFor();
  expect(await context.cookies(ledger.url)).toEqual([]);
  await context.close();
});

test('a revoked token ends its session, and what it showed is gone', async () => {
  const context = await browser.newContext();
  const { page } = await openPage(context, ledger);
  const token = await ledger.command(['token', 'issue', 'gone', '--role', 'reader', '--expires', '1h']);
  await signIn(page, ledger, token.trim());
  await page.getByText('Live', { exact: true }).waitFor();
  await ledger.command(['token', 'revoke', 'gone', '--reason', 'lost']);
  await heading(page, 'Sign in').waitFor();
  await page.getByText('Your session has ended').waitFor();
  expect(await page.locator('main').innerText()).not.toContain('entries of the log');
  await context.close();
});

test('a session that has expired asks to sign in, without a click', async () => {
  const { page } = expiring;
  await heading(page, 'Sign in').waitFor({ timeout: 120_000 });
  await page.getByText('Your session has ended').waitFor();
  expect(await page.context().cookies(ledger.url)).toEqual([]);
});
