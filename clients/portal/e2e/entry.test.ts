/** Entries in the real browser, with the real server and a hostile one. */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { createServer, request as ask, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  GetEntryResponseSchema,
  GetPayloadResponseSchema,
  GetReceiptResponseSchema,
} from '../src/gen/muniment/v1/ledger_pb';
import { Ledger, openPage, settled, signedIn, signIn, startChromium } from './harness.js';

let ledger: Ledger;
let browser: Browser;

const sbom = {
  bomFormat: 'CycloneDX',
  specVersion: '1.6',
  metadata: { component: { name: 'gateway', version: '1.7.0' } },
  components: Array.from({ length: 2000 }, (_, i) => ({
    name: `package-${i}`,
    version: '1.0',
    licenses: [{ license: { id: 'MIT' } }],
  })),
};

const attack = '<img src=x onerror="window.attacked=1"><script>window.attacked=1</script>';
const indexes = { sbom: 0, statement: 0, svg: 0, text: 0 };

beforeAll(async () => {
  ledger = await Ledger.start(['acme']);
  browser = await startChromium();
  indexes.sbom = await ledger.append('sbom.json', JSON.stringify(sbom), [
    '--media-type',
    'application/vnd.cyclonedx+json',
  ]);
  indexes.statement = await ledger.append(
    'statement.json',
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [
        { name: attack, digest: { sha256: 'a'.repeat(64) } },
        { name: 'user\u202egnp.exe', digest: { sha256: 'b'.repeat(64) } },
        { name: 'x'.repeat(5000), digest: { ['__proto__x']: 'c' } },
      ],
      predicateType: 'javascript:alert(1)',
      predicate: {
        constructor: attack,
        note: 'data:text/html,<script>window.attacked=1</script>',
        list: [{ toString: attack }],
      },
    }),
  );
  indexes.svg = await ledger.append('x.svg', '<svg xmlns="http://www.w3.org/2000/svg" onload="window.attacked=1"/>', [
    '--media-type',
    'image/svg+xml',
  ]);
  indexes.text = await ledger.append('x.md', `# hello\n[x](javascript:window.attacked=1)\n${attack}\n`, [
    '--media-type',
    'text/markdown',
  ]);
});

afterAll(async () => {
  await browser.close();
  await ledger.stop();
});

const show = async (page: Page, base: string, index: number) => {
  await page.goto(`${base}/portal/entries/${index}`);
  await page.getByRole('list').filter({ hasText: 'Receipt' }).or(page.getByText('does not verify')).first().waitFor();
  await settled(page);
};

test('an entry is verified in the browser, and its payload shown', async () => {
  const { page, context, problems, calls } = await signedIn(browser, ledger);
  calls.length = 0;
  await show(page, ledger.url, indexes.sbom);
  await page.getByText('hashed in this browser: the header commits to it').waitFor();
  await page.getByRole('img', { name: /Merkle path of entry/ }).waitFor();
  await page.getByRole('searchbox', { name: 'Filter Components' }).fill('PACKAGE-1999');
  await page.getByText('1 of 2,000').waitFor();
  expect(problems).toEqual([]);
  expect(
    new Set(calls.filter((call) => !call.includes('Watch') && !call.includes('GetCheckpoint'))).size,
  ).toBeLessThanOrEqual(5);
  await context.close();
});

test('nothing that evidence contains runs, or breaks the layout', async () => {
  const { page, context, problems } = await signedIn(browser, ledger, { viewport: { width: 360, height: 740 } });
  for (const index of [indexes.statement, indexes.svg, indexes.text]) {
    await show(page, ledger.url, index);
    await page.getByText('hashed in this browser: the header commits to it').waitFor();
    expect(await page.evaluate(() => (window as { attacked?: unknown }).attacked)).toBeUndefined();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    expect(
      await page
        .locator('main img, main script, main iframe, main a[href^="javascript:"], main a[href^="data:"]')
        .count(),
    ).toBe(0);
  }
  await show(page, ledger.url, indexes.statement);
  await page.getByText('RLO').first().waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('a payload of 100 MB is loaded on demand, hashed, and can be cancelled', async () => {
  const index = await ledger.append('large.bin', new Uint8Array(100_000_000).fill(7), [
    '--media-type',
    'application/octet-stream',
  ]);
  const { page, context, problems } = await signedIn(browser, ledger);
  await show(page, ledger.url, index);
  await page.getByText('This payload has 100 MB').waitFor();
  await page.getByRole('button', { name: 'Show the first 1.05 MB only' }).click();
  await page.getByText('Not verified', { exact: true }).waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Load and verify' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByText('Loading was cancelled').waitFor();
  await page.getByRole('button', { name: 'Load again' }).click();
  await page.getByText('hashed in this browser: the header commits to it').waitFor({ timeout: 300_000 });
  await page.getByRole('button', { name: 'Download the payload' }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('10,000 subjects are a table that is drawn in parts', async () => {
  const subjects = Array.from({ length: 10_000 }, (_, i) => ({
    name: `app-${i}`,
    digest: { sha256: i.toString(16).padStart(64, '0') },
  }));
  const index = await ledger.append('subjects.json', JSON.stringify({ subjects }), [
    '--media-type',
    'application/json',
  ]);
  const { page, context, problems } = await signedIn(browser, ledger);
  await show(page, ledger.url, index);
  const table = page.getByRole('table', { name: 'subjects' });
  await table.getByText('app-0', { exact: true }).waitFor();
  expect(await table.getAttribute('aria-rowcount')).toBe('10001');
  expect(await table.locator('tr').count()).toBeLessThan(200);
  await page.getByRole('searchbox', { name: 'Filter subjects' }).fill('APP-9999');
  await table.getByText('app-9999', { exact: true }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('the only hit of a search opens at once, with the keyboard alone', async () => {
  const { page, context, problems } = await signedIn(browser, ledger);
  await page.keyboard.press('/');
  await page.keyboard.type(String(indexes.text));
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: `Entry ${indexes.text}` }).waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type(`SHA256:${'B'.repeat(64)}`);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1 }).filter({ hasText: /gnp/ }).waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('abc12');
  await page.keyboard.press('Enter');
  await page.getByText('Nothing found').waitFor();
  await page.getByText('needs at least 8 digits').waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('a server that restarts while the page is open', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await show(page, ledger.url, indexes.text);
  await page.getByText('hashed in this browser: the header commits to it').waitFor();
  const verified = page.getByText('verified in this browser');
  const port = Number(new URL(ledger.url).port);
  await ledger.kill();
  await page.getByText(/Reconnecting|Stale since/u).waitFor();
  await verified.waitFor(); // what is shown stays
  await ledger.serve(port); // which has forgotten the session
  await page.getByText('Your session has ended').waitFor();
  await page.getByRole('textbox', { name: 'Token' }).fill(await ledger.token('admin'));
  await page.getByRole('button', { name: 'Sign in with the token' }).click();
  await page.getByRole('heading', { level: 1, name: `Entry ${indexes.text}` }).waitFor();
  await verified.waitFor();
  await page.getByText('Live', { exact: true }).waitFor();
  await context.close();
});

test('an entry that does not exist, and an index that is none', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await page.goto(`${ledger.url}/portal/entries/999999`);
  await page.getByText('This server does not have the entry yet').waitFor();
  await page.goto(`${ledger.url}/portal/entries/0x1`);
  await page.getByText('This is not the index of an entry').waitFor();
  await context.close();
});

test('an erased payload', async () => {
  const index = await ledger.append('secret.txt', 'to be erased', ['--media-type', 'text/plain']);
  await ledger.command(['erase', String(index), '--scope', 'payload', '--reason', 'requested', '--yes']);
  const { page, context, problems } = await signedIn(browser, ledger);
  await show(page, ledger.url, index);
  await page.getByText('The payload was erased').waitFor();
  await page.getByText('as recorded in').waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

test('without a network the page keeps what is verified', async () => {
  const { page, context } = await signedIn(browser, ledger);
  await show(page, ledger.url, indexes.text);
  await page.getByText('hashed in this browser: the header commits to it').waitFor();
  await context.setOffline(true);
  await page.getByRole('button', { name: 'Download the receipt' }).click();
  await page.getByText('verified in this browser').waitFor();
  await context.close();
});

/** Changes an answer of a unary call, or a message of a stream. */
type Change = (path: string, body: Uint8Array) => Uint8Array;

/** A server between the browser and the real one, which changes answers. */
async function hostile(change: Change): Promise<{ server: Server; url: string }> {
  const target = new URL(ledger.url);
  const server = createServer((request, response) => {
    const path = request.url ?? '/';
    const onward = ask(
      {
        host: target.hostname,
        port: target.port,
        path,
        method: request.method,
        headers: { ...request.headers, 'accept-encoding': 'identity' },
      },
      (answer: IncomingMessage) => {
        if (!/\/(GetReceipt|GetPayload|GetEntry)(\?|$)|\/portal\/session$/.test(path)) {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
          return;
        }
        const pieces: Buffer[] = [];
        answer.on('data', (piece: Buffer) => pieces.push(piece));
        answer.on('end', () => {
          const body = change(path, new Uint8Array(Buffer.concat(pieces)));
          const headers = { ...answer.headers };
          delete headers['content-length'];
          response.writeHead(answer.statusCode ?? 500, headers);
          response.end(body);
        });
      },
    );
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** Changes the receipt in an answer, as text. */
const receipt =
  (edit: (text: string) => string): Change =>
  (path, body) => {
    if (!path.includes('GetReceipt')) return body;
    const answer = fromBinary(GetReceiptResponseSchema, body);
    const changed = create(GetReceiptResponseSchema, {
      receipt: new TextEncoder().encode(edit(new TextDecoder().decode(answer.receipt))),
    });
    return toBinary(GetReceiptResponseSchema, changed);
  };

const flip = (text: string, after: string): string => {
  const at = text.indexOf(after) + after.length + 4;
  return `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;
};

const otherKey = 'ledger.example.com+2f2f3e3c+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f';

test.each<[string, Change, RegExp]>([
  ['a changed receipt', receipt((text) => flip(text, '"tag":"')), /receipt of this entry does not verify[^]*inclusion/],
  [
    'a changed header',
    receipt((text) => text.replace('CycloneDX', 'Cyclone').replace('vnd.cyclonedx+json', 'vnd.cyclonedx+jsom')),
    /receipt of this entry does not verify[^]*inclusion/,
  ],
  [
    'a changed checkpoint',
    receipt((text) =>
      text.replace(
        /(\\nledger\.example\.com\\n)(\d)/,
        (_, line: string, digit: string) => `${line}${digit === '9' ? '8' : '9'}`,
      ),
    ),
    /receipt of this entry does not verify[^]*checkpoint-signature/,
  ],
  [
    'a description that differs',
    (path, body) => (path.includes('GetEntry') ? toBinary(GetEntryResponseSchema, withKind(body)) : body),
    /describes this entry in two ways[^]*kind/,
  ],
  [
    'a changed payload',
    (path, body) => (path.includes('GetPayload') ? changedPayload(body) : body),
    /sent another payload[^]*payload-mismatch/,
  ],
  [
    'another key',
    (path, body) => (path.includes('session') ? session(body) : body),
    /presents another log key than before/,
  ],
])('a hostile server is caught: %s', async (_, change, expected) => {
  let isHostile = false;
  const { server, url } = await hostile((path, body) => (isHostile ? change(path, body) : body));
  const context: BrowserContext = await browser.newContext();
  const { page } = await openPage(context, ledger);
  await signIn(page, Object.assign(Object.create(ledger) as Ledger, { url }), await ledger.token('reader'));
  await show(page, url, indexes.text); // pins the key
  await page.getByText('verified in this browser').waitFor();
  isHostile = true;
  await show(page, url, indexes.sbom);
  await expect.poll(() => page.locator('main').innerText(), { timeout: 60_000 }).toMatch(expected);
  await context.close();
  server.closeAllConnections();
  server.close();
});

function withKind(body: Uint8Array) {
  const answer = fromBinary(GetEntryResponseSchema, body);
  if (answer.entry !== undefined) answer.entry.kind = 'vetting';
  return answer;
}

/** Changes the first byte of the first chunk of a stream (Connect: flags, length, message). */
function changedPayload(body: Uint8Array): Uint8Array {
  const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
  const message = fromBinary(GetPayloadResponseSchema, body.subarray(5, 5 + length));
  message.chunk[0] = (message.chunk[0] ?? 0) ^ 1;
  return Uint8Array.from([
    ...body.subarray(0, 5),
    ...toBinary(GetPayloadResponseSchema, message),
    ...body.subarray(5 + length),
  ]);
}

function session(body: Uint8Array): Uint8Array {
  const answer = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
  return new TextEncoder().encode(JSON.stringify({ ...answer, policy: `log ${otherKey}\nquorum none\n` }));
}
