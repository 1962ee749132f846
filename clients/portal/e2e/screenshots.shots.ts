/** Pictures of every view in both themes, in bin/portal-screenshots. */

import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, test } from 'vitest';
import { Ledger, openPage, settled, startChromium } from './harness.js';
import type { ViewAddress } from './views.js';

const out = fileURLToPath(new URL('../../../bin/portal-screenshots', import.meta.url));
const widths = process.env['WIDTHS']?.split(',').map(Number) ?? [1280, 360];
const only = process.env['VIEWS']?.split(',');

/** The program that makes the company of `make demo`. */
const demo = fileURLToPath(new URL('../../../bin/demo', import.meta.url));
const run = promisify(execFile);
const tenant = 'initech';

let ledger: Ledger;
let browser: Browser;
let views: ViewAddress[];

beforeAll(async () => {
  mkdirSync(out, { recursive: true });
  [ledger, browser] = await Promise.all([
    Ledger.start([tenant], (data) => run(demo, ['seed', '--data', data, '--tenant', tenant])),
    startChromium(),
  ]);
  views = await addresses();
});

afterAll(async () => {
  await browser.close();
  await ledger.stop();
});

interface Hit {
  artifact?: string;
  exception?: string;
  title: string;
}

/** Calls the API of the portal with the tenant's first token. */
async function ask(method: string, request: object): Promise<unknown> {
  const response = await fetch(`${ledger.url}/muniment.v1.PortalService/${method}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${readFileSync(ledger.tokenFile(), 'utf8').trim()}`,
    },
    body: JSON.stringify({ tenant, ...request }),
  });
  return await response.json();
}

/** Returns what a search finds whose title ends so. */
async function find(query: string, title: string): Promise<Hit> {
  const { hits = [] } = (await ask('Search', { query })) as { hits?: Hit[] };
  const hit = hits.find((one) => one.title.endsWith(title));
  if (hit === undefined) throw new Error(`${query} is not found`);
  return hit;
}

/** Returns the address of the incident of a type with the newest entry. */
async function incident(playbook: string): Promise<string> {
  const { incidents = [] } = (await ask('ListIncidents', { playbook })) as { incidents?: { id: string }[] };
  return `/incidents/${encodeURIComponent(incidents[0]?.id ?? '')}`;
}

/** Returns the index of the newest entry that the flags select. */
async function newest(...flags: string[]): Promise<number> {
  const lines = await ledger.command(['list', '--limit', '1', '--json', ...flags]);
  return (JSON.parse(lines.split('\n')[0] ?? '') as { index: number }).index;
}

async function addresses(): Promise<ViewAddress[]> {
  const { artifact = '' } = await find('1.7.0', 'gateway:1.7.0');
  const { exception = '' } = await find('EXC-109', 'EXC-109');
  const { artifact: order = '' } = await find('order-total.yaml', 'order-total.yaml');
  const { artifact: customer = '' } = await find('customer-phone.yaml', 'customer-phone.yaml');
  const about = ['--subject', artifact];
  return [
    { name: 'overview', path: '/' },
    { name: 'search', path: '/search?q=1.7' },
    {
      name: 'provenance',
      path: `/entries/${await newest(...about, '--predicate-type', 'https://slsa.dev/provenance/v1')}`,
    },
    { name: 'sbom', path: `/entries/${await newest(...about, '--predicate-type', 'https://spdx.dev/Document/v2.3')}` },
    { name: 'decision', path: `/entries/${await newest(...about, '--kind', 'gate-decision')}` },
    { name: 'artifact', path: `/artifacts/${artifact}?stage=deploy&environment=production` },
    { name: 'controls', path: '/controls' },
    { name: 'control', path: '/controls/LOAD-TEST' },
    { name: 'findings', path: '/findings' },
    { name: 'finding', path: '/findings/AUD-06' },
    { name: 'exceptions', path: '/exceptions' },
    { name: 'exception', path: `/exceptions/${exception}` },
    { name: 'new-exception', path: '/exceptions/new' },
    { name: 'backfills', path: '/backfills' },
    { name: 'backfill', path: `/backfills/${order}` },
    { name: 'backfill-stopped', path: `/backfills/${customer}` },
    { name: 'caches', path: '/caches' },
    { name: 'cache', path: `/caches/${encodeURIComponent('checkout/Query.price')}` },
    { name: 'incidents', path: '/incidents' },
    { name: 'incident-waiting', path: await incident('P1-checkout-latency') },
    { name: 'incident-misfired', path: await incident('P2-search-slow') },
    { name: 'incident-undone', path: await incident('P1-gateway-5xx-surge') },
    { name: 'privacy', path: '/privacy' },
    { name: 'audit', path: '/audit' },
    { name: 'verify', path: '/verify' },
    { name: 'start', path: '/start' },
    { name: 'not-found', path: '/nothing-here' },
  ].filter(({ name }) => only?.includes(name) ?? true);
}

/** Signs in as Ada, who leads compliance. */
async function asAda(context: BrowserContext): Promise<Page> {
  const { page } = await openPage(context, ledger);
  const { stdout } = await run(demo, ['token', '--data', ledger.data, 'ada']);
  await page.goto(`${ledger.url}/portal/signin`);
  await page.getByRole('textbox', { name: 'Token' }).fill(stdout.trim());
  await page.getByRole('button', { name: 'Sign in with the token' }).click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  return page;
}

test.each(['light', 'dark'] as const)('%s', async (colorScheme) => {
  const context = await browser.newContext({ timezoneId: 'Europe/Berlin', locale: 'en-GB', colorScheme });
  const page = await asAda(context);
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    for (const { name, path } of views) {
      await page.goto(`${ledger.url}/portal${path}`);
      await settled(page);
      await page.screenshot({ path: join(out, `${name}-${colorScheme}-${width}.png`), fullPage: true });
    }
  }
  await context.close();
});
