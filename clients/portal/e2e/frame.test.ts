/** What holds for every view: accessible, in any size and theme, and quiet. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Ledger, openPage, settled, signedIn, signIn, startChromium, violations, type Watched } from './harness.js';
import { seed, type ViewAddress } from './views.js';

let ledger: Ledger;
let browser: Browser;
let views: ViewAddress[];

beforeAll(async () => {
  [ledger, browser] = await Promise.all([Ledger.start(), startChromium()]);
  views = await seed(ledger);
});

afterAll(async () => {
  await browser.close();
  await ledger.stop();
});

/** Returns what a page has done wrong since the last call. */
const problemsOf = ({ problems }: Watched) => [...new Set(problems.splice(0))];

const refusal = (method: string | undefined) =>
  method === undefined ? [] : [`404 ${ledger.url}/muniment.v1.PortalService/${method}`];

describe.each(['light', 'dark'] as const)('in the %s theme', (colorScheme) => {
  let watched: Watched;

  beforeAll(async () => {
    watched = await signedIn(browser, ledger, { colorScheme, viewport: { width: 360, height: 740 } });
  });

  test('every view is accessible and fits', async () => {
    const { page, calls } = watched;
    for (const { name, path, missing } of views) {
      calls.length = 0;
      await page.goto(`${ledger.url}/portal${path}`);
      await settled(page);
      expect.soft(await violations(page), name).toEqual([]);
      expect.soft(await page.title(), name).toMatch(/^.+ · Muniment$/);
      expect.soft(await page.locator('h1').count(), name).toBe(1);
      expect.soft(await page.evaluate(() => document.documentElement.scrollWidth), name).toBe(360);
      const own = calls.filter((call) => !/WatchEntries$/.test(call));
      expect.soft(own.length, `${name}: ${own.join(' ')}`).toBeLessThanOrEqual(5);
      expect.soft(problemsOf(watched), name).toEqual(refusal(missing));
    }
  });

  // The theme changes colours alone, and such pictures take long to draw.
  test.runIf(colorScheme === 'light')('every view fits 4K', async () => {
    const { page } = watched;
    await page.setViewportSize({ width: 3840, height: 2160 });
    for (const { name, path, missing } of views) {
      await page.goto(`${ledger.url}/portal${path}`);
      await settled(page);
      expect.soft(await page.evaluate(() => document.documentElement.scrollWidth), name).toBe(3840);
      expect
        .soft(await page.evaluate(() => parseFloat(getComputedStyle(document.body).fontSize)), name)
        .toBeGreaterThan(16);
      expect.soft(problemsOf(watched), name).toEqual(refusal(missing));
    }
  });

  test('the sign-in is accessible', async () => {
    const context = await browser.newContext({ colorScheme, viewport: { width: 360, height: 740 } });
    const { page, problems } = await openPage(context, ledger);
    await page.goto(`${ledger.url}/portal/findings`);
    await page.getByRole('heading', { level: 1, name: 'Sign in' }).waitFor();
    await page.getByRole('textbox', { name: 'Token' }).waitFor();
    expect(new URL(page.url()).searchParams.get('return')).toBe('/portal/findings');
    expect(await violations(page)).toEqual([]);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
    await page.getByRole('textbox', { name: 'Token' }).fill(await ledger.token('reader'));
    await page.getByRole('button', { name: 'Sign in with the token' }).click();
    await page.getByRole('heading', { level: 1, name: 'Findings' }).waitFor();
    expect(problems).toEqual([]);
    await context.close();
  });
});

describe('the keyboard', () => {
  let watched: Watched;

  beforeAll(async () => {
    watched = await signedIn(browser, ledger, { viewport: { width: 1280, height: 800 } });
  });

  test('the skip link is first, and leads to the content', async () => {
    const { page } = watched;
    await page.goto(`${ledger.url}/portal/findings`);
    await settled(page);
    await page.keyboard.press('Tab');
    const skip = page.getByRole('link', { name: 'Skip to the content' });
    expect(await skip.evaluate((link) => link === document.activeElement)).toBe(true);
    expect((await skip.boundingBox())?.y).toBeGreaterThanOrEqual(0);
    await page.keyboard.press('Enter');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');
  });

  test('the focus is visible at each step, in the order of the page', async () => {
    const { page } = watched;
    for (const { name, path } of views) {
      await page.goto(`${ledger.url}/portal${path}`);
      await settled(page);
      const seen: string[] = [];
      for (let i = 0; i < 60; i++) {
        await page.keyboard.press('Tab');
        const focused = await page.evaluate(() => {
          const element = document.activeElement;
          if (element === null || element === document.body) return undefined;
          const { outlineStyle, outlineWidth } = getComputedStyle(element);
          const { top, height, left, width } = element.getBoundingClientRect();
          const covered = document.elementFromPoint(left + Math.min(width / 2, 20), top + height / 2);
          return {
            text: (element.getAttribute('aria-label') ?? element.textContent).trim().slice(0, 40) || element.tagName,
            outlined: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1,
            shown: covered !== null && (element.contains(covered) || covered.contains(element)),
          };
        });
        if (focused === undefined) break;
        seen.push(focused.text);
        expect.soft(focused, `${name}, step ${i + 1}`).toMatchObject({ outlined: true, shown: true });
      }
      expect.soft(seen.slice(0, 3), name).toEqual(['Skip to the content', 'Muniment', 'Search']);
    }
  });

  test('/ moves to the search, unless somebody writes or has turned it off', async () => {
    const { page } = watched;
    await page.goto(`${ledger.url}/portal/findings`);
    await settled(page);
    const search = page.getByRole('combobox', { name: 'Search' });
    const focused = () => search.evaluate((box) => box === document.activeElement);
    await page.keyboard.press('/');
    expect(await focused()).toBe(true);
    await page.keyboard.type('a/b');
    expect(await search.inputValue()).toBe('a/b');
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/portal\/search\?q=a%2Fb$/);
    await page.getByRole('button', { name: 'Display' }).press('Enter');
    await page.getByRole('checkbox', { name: '/ moves to the search' }).press('Space');
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    expect(await focused()).toBe(false);
  });

  test('a move to another view puts the focus at its heading', async () => {
    const { page } = watched;
    await page.goto(`${ledger.url}/portal/findings`);
    await settled(page);
    await page.getByRole('link', { name: 'Audit' }).press('Enter');
    await page.waitForFunction(() => document.activeElement?.tagName === 'H1');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Audit');
  });
});

test('the theme can be chosen, and is remembered', async () => {
  const { page, context } = await signedIn(browser, ledger, { colorScheme: 'light' });
  const canvas = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await canvas();
  await page.getByRole('button', { name: 'Display' }).click();
  await page.getByRole('radio', { name: 'Dark' }).check();
  const dark = await canvas();
  expect(dark).not.toBe(light);
  await page.reload();
  await settled(page);
  expect(await canvas()).toBe(dark);
  await context.close();
});

test('motion is reduced for those who want it so', async () => {
  const context = await browser.newContext({ reducedMotion: 'reduce' });
  const { page } = await openPage(context, ledger);
  await page.route('**/portal/session', () => undefined); // the page keeps loading
  await page.goto(`${ledger.url}/portal/`);
  const line = page.locator('[role=status] span').first();
  await line.waitFor();
  expect(await line.evaluate((element) => getComputedStyle(element).animationIterationCount)).toBe('1');
  await context.close();
});

test('live updates are shown, and their end', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await page.getByText('Live', { exact: true }).waitFor();
  const port = Number(new URL(ledger.url).port);
  await ledger.kill('SIGKILL');
  await page.getByText(/Reconnecting|Stale since/).waitFor();
  await ledger.serve(port);
  // The server keeps sessions in memory, so the page asks to sign in again.
  await page.getByRole('heading', { level: 1, name: 'Sign in' }).waitFor({ timeout: 90_000 });
  await page.getByText('Your session has ended').waitFor();
  await signIn(page, ledger, await ledger.token('admin'));
  await page.getByText('Live', { exact: true }).waitFor();
  await context.close();
});

test('the tabs of a browser share one stream', async () => {
  const first = await signedIn(browser, ledger);
  const live = (page: Page) => page.getByText('Live', { exact: true }).waitFor();
  const streams = ({ calls }: Watched) => calls.filter((call) => call.endsWith('/WatchEntries')).length;
  await live(first.page);
  // More than the connections that a browser has to a server over HTTP/1.1.
  const others: Watched[] = [];
  for (let i = 0; i < 7; i++) {
    const tab = await openPage(first.context, ledger);
    others.push(tab);
    await tab.page.goto(`${ledger.url}/portal/`);
    await live(tab.page);
  }
  expect(others.map(streams)).toEqual(others.map(() => 0));

  const entries = async ({ page }: Watched) =>
    /([\d,]+) entries of the log/u.exec(await page.locator('main').innerText())?.[1];
  const before = await entries(first);
  await ledger.append('tabs.txt', 'for every tab\n', ['--media-type', 'text/plain']);
  for (const tab of [first, ...others]) await expect.poll(() => entries(tab), { timeout: 60_000 }).not.toBe(before);

  await first.page.close();
  await expect.poll(() => others.map(streams).reduce((sum, n) => sum + n)).toBe(1);
  const after = await entries(others[6] as Watched);
  await ledger.append('successor.txt', 'for the others\n', ['--media-type', 'text/plain']);
  for (const tab of others) await expect.poll(() => entries(tab), { timeout: 60_000 }).not.toBe(after);
  expect([first, ...others].flatMap(({ problems }) => problems)).toEqual([]);
  await first.context.close();
});

test('signing out forgets what was shown', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await page.getByRole('button', { name: /^Tenant acme/ }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { level: 1, name: 'Sign in' }).waitFor();
  await page.goto(`${ledger.url}/portal/`);
  await page.getByRole('heading', { level: 1, name: 'Sign in' }).waitFor();
  await context.close();
});
