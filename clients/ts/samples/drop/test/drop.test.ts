/** The built page in a real browser, with an export of the shared vectors. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { startChromium } from '../../../packages/verify/test/chromium.js';
import { decode, type VerifyVectors } from '../../../packages/verify/test/judge.js';

const sample = fileURLToPath(new URL('..', import.meta.url));
const vectors = JSON.parse(
  readFileSync(join(sample, '../../../../docs/spec/vectors/verify.json'), 'utf8'),
) as VerifyVectors;
const root = mkdtempSync(join(tmpdir(), 'muniment-drop-'));
const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** The requests after the page has loaded, and its errors. */
let late: string[] = [];
let hasLoaded = false;
let server: Server;
let browser: Browser;
let page: Page;

function write(path: string, content: Uint8Array): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

/** Writes the export of a vector, as `muniment export-manifest release` does, and its stream. */
function writeExport(name: string): { folder: string; stream: string } {
  const found = vectors.verifications.find((c) => c.name === name);
  if (found === undefined) throw new Error(`no vector is named ${name}`);
  const { files = {}, receipt, stream } = found.inputs ?? {};
  const folder = name.replaceAll(/[^a-z0-9]+/g, '-');
  write(`${folder}/export.sigstore.json`, decode(vectors.blobs[found.file]));
  write(`${folder}/receipt.json`, decode(vectors.blobs[receipt ?? '']));
  for (const [path, blob] of Object.entries(files)) write(`${folder}/files/${path}`, decode(vectors.blobs[blob]));
  write(`${folder}.bundle.tar`, decode(vectors.blobs[stream ?? '']));
  return { folder: join(root, folder), stream: join(root, `${folder}.bundle.tar`) };
}

/** Drops files and folders, as a person does from another program. */
async function drop(paths: string[]): Promise<void> {
  const session = await page.context().newCDPSession(page);
  const box = await page.getByRole('region', { name: 'Files' }).boundingBox();
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  const at = { x: (box?.x ?? 0) + 20, y: (box?.y ?? 0) + 20, data };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await session.send('Input.dispatchDragEvent', { type, ...at });
}

/** Returns the text of a part of the report. */
const part = (name: string) => page.getByRole('region', { name, exact: true }).innerText();

const verdict = (text: string) => page.getByRole('heading', { level: 2, name: text }).waitFor();

beforeAll(async () => {
  const configuration = vectors.configurations.find(({ name }) => name === 'sample');
  write('trust/muniment.json', decode(configuration?.configurationBase64));
  for (const [path, blob] of Object.entries(configuration?.files ?? {}))
    write(`trust/${path}`, decode(vectors.blobs[blob]));
  const dist = join(root, 'dist');
  execFileSync('npx', ['vite', 'build', '--logLevel', 'error', '--outDir', dist], {
    cwd: sample,
    env: { ...process.env, TRUST: join(root, 'trust') },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  server = createServer(({ url = '/' }, response) => {
    const path = url === '/' ? '/index.html' : url;
    response.setHeader('content-type', types[extname(path)] ?? 'application/octet-stream');
    response.end(readFileSync(join(dist, path)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await startChromium();
});

afterAll(async () => {
  await browser.close();
  server.close();
  rmSync(root, { recursive: true });
});

beforeEach(async () => {
  page = await browser.newPage({ viewport: { width: 360, height: 740 } });
  late = [];
  hasLoaded = false;
  page.on('request', (request) => {
    if (hasLoaded && !request.url().startsWith('blob:')) late.push(request.url());
  });
  page.on('console', (message) => {
    if (message.type() === 'error') late.push(message.text()); // a request that the policy has blocked
  });
  page.on('pageerror', (error) => late.push(error.message));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.getByText('No files yet.').waitFor();
  hasLoaded = true;
  return async () => {
    expect(late).toEqual([]);
    await page.close();
  };
});

test('a dropped export, with its stream', async () => {
  const { folder, stream } = writeExport('sample');
  await drop([folder, stream]);
  await verdict('Verified');
  expect(await part('Proven')).toMatch(/embeddings-2026-11, for acme[^]*schema\.json, 25 bytes, unchanged/);
  expect(await part('Proven')).toMatch(/ε 2\.7[^]*as entry 5 of[^]*no recorded spend of the budget is missing/);
  expect(await part('Claimed, not proven')).toMatch(/storage\s+in DE-BE[^]*claimed by sha256:[0-9a-f]{64}/);
  expect(await part('Warnings')).toContain('not-witnessed');
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('verdict');
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
});

test('a chosen export, first without its stream', async () => {
  const { folder, stream } = writeExport('sample');
  await page.keyboard.press('Tab');
  expect(await page.getByLabel('Folder of the export').evaluate((input) => input === document.activeElement)).toBe(
    true,
  );
  await page.getByLabel('Folder of the export').setInputFiles(folder);
  await verdict('Verified');
  expect(await part('Warnings')).toContain('spends-not-checked');
  await page.getByLabel('Single files').setInputFiles(stream);
  await page.getByText('no recorded spend of the budget is missing').waitFor();
  expect(await part('Warnings')).not.toContain('spends-not-checked');
  const saved = page.waitForEvent('download');
  await page.getByText('Save the report').click();
  expect(readFileSync(await (await saved).path(), 'utf8')).toContain('✓ VERIFIED');
});

test.each([
  ['tampered 8: a changed file', 'file-digest'],
  ['tampered 10: a missing file', 'file-missing'],
  ['tampered 1: a changed statement', 'signature-unverified'],
  ['tampered 26: a spend that was left out', 'spent-understated'],
])('%s', async (name, code) => {
  const { folder, stream } = writeExport(name);
  await drop([folder, stream]);
  await verdict('Refused');
  expect(await part('First failing check')).toContain(code);
  expect(await page.getByRole('region', { name: 'Proven' }).count()).toBe(0);
});

test('files that are no export', async () => {
  const { stream } = writeExport('sample');
  await drop([stream]);
  await page.getByText('No export.sigstore.json is among the files.').waitFor();
  expect(await page.getByRole('heading', { level: 2 }).count()).toBe(0);
});

test('the colours follow the system', async () => {
  const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: 'light' });
  expect(await colour()).toBe('rgb(255, 255, 255)');
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await colour()).toBe('rgb(20, 23, 26)');
});

test('the page cannot send anything', async () => {
  const refused = await page.evaluate(() => fetch('/index.html').then(String, (error: unknown) => String(error)));
  expect(refused).toMatch(/^TypeError/);
  expect(late.join('\n')).toContain('Content Security Policy');
  late = [];
});
