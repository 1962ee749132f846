/** Configurations (verify.md, sections 1 and 2). */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigurationError, parseConfiguration, verifyReceipt } from '../src/index.js';
import { loadConfiguration, openFile } from '../src/node/index.js';
import { PUBLIC_GOOD_ROOT } from '../src/sigstore/publicgood.js';
import { normalUrl } from '../src/urls.js';
import { receiptCase, receiptOf, receipts } from './vectors.js';

const repository = (path: string) => new URL(`../../../../../${path}`, import.meta.url);
const utf8 = new TextEncoder();
const sigstore = JSON.parse(readFileSync(repository('docs/spec/vectors/sigstore.json'), 'utf8')) as {
  keys: Record<string, string>;
};
const key = Object.values(sigstore.keys)[0] ?? '';
const policy = receipts.policies['log'] ?? '';
const files = new Map(
  Object.entries({
    'cosign.pub': key,
    policy,
    key: receipts.streamKeys['globex'] ?? '',
    root: PUBLIC_GOOD_ROOT,
    empty: '',
    'a/b': policy,
    huge: 'a'.repeat(100_000),
  }).map(([path, text]) => [path, utf8.encode(text)]),
);

async function codeOf(text: string | Uint8Array): Promise<string> {
  try {
    await parseConfiguration(text, files);
    return '';
  } catch (error) {
    if (error instanceof ConfigurationError) return error.code;
    throw error;
  }
}

test('the root of the public-good instance is that of the Go verifier', () => {
  const root = JSON.parse(readFileSync(repository('verifiers/sigstore/public-good.json'), 'utf8')) as unknown;
  expect(JSON.parse(PUBLIC_GOOD_ROOT), 'run: node scripts/publicgood.js').toEqual(root);
});

const identity = '{"issuer":"https://i.example","subject":"s"}';
const long = 'x'.repeat(2049);

describe('codes', () => {
  test.each<[string, string]>([
    ['{}', ''],
    ['{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev"},"trustedKeys":["cosign.pub"]}', ''],
    ['{"sigstore":{"rekorUrl":"https://REKOR.sigstore.dev:0443//"}}', ''],
    ['{"sigstore":{"rekorUrl":"http://rekor.sigstore.dev"}}', 'rekor-unknown'],
    ['{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev/x"}}', 'rekor-unknown'],
    ['{"sigstore":{"rekorUrl":"https://user@rekor.sigstore.dev"}}', 'configuration-invalid'],
    ['{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev?x"}}', 'configuration-invalid'],
    ['{"sigstore":{"rekorUrl":"HTTPS://rekor.sigstore.dev"}}', 'configuration-invalid'],
    ['{"sigstore":{}}', 'configuration-invalid'],
    ['{"sigstore":null}', 'configuration-invalid'],
    ['{"sigstore":[]}', 'configuration-invalid'],
    ['{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev","url":1}}', 'configuration-unknown'],
    ['', 'configuration-malformed'],
    ['[]', 'configuration-malformed'],
    ['{} {}', 'configuration-malformed'],
    ['{"trustPolicy":"policy","trustPolicy":"policy"}', 'configuration-malformed'],
    ['{"trustPolicy":1e3}', 'configuration-malformed'],
    ['{"trustPolicy":"\\ud800"}', 'configuration-malformed'],
    [`{"a":${'['.repeat(16)}${']'.repeat(16)}}`, 'configuration-malformed'],
    [`{}${' '.repeat(1_048_574)}`, ''],
    [`{}${' '.repeat(1_048_575)}`, 'configuration-malformed'],
    ['{"__proto__":{}}', 'configuration-unknown'],
    ['{"constructor":1,"trustedKeys":1}', 'configuration-unknown'],
    ['{"TrustedKeys":["cosign.pub"]}', 'configuration-unknown'],
    ['{"trustedKeys":1,"identities":[{"issuer":"","__proto__":"s"}]}', 'configuration-unknown'],
    ['{"trustedKeys":"cosign.pub"}', 'configuration-invalid'],
    ['{"trustedKeys":[]}', 'configuration-invalid'],
    ['{"trustedKeys":["empty","empty"]}', 'key-malformed'],
    [`{"trustedKeys":[${'"cosign.pub",'.repeat(63)}"cosign.pub"]}`, ''],
    [`{"trustedKeys":[${'"cosign.pub",'.repeat(64)}"cosign.pub"]}`, 'configuration-invalid'],
    ['{"trustedKeys":[""]}', 'configuration-invalid'],
    ['{"trustedKeys":["a\\u0000b"]}', 'configuration-invalid'],
    [`{"trustedKeys":["${'é'.repeat(2049)}"]}`, 'configuration-invalid'],
    [`{"trustedKeys":["${'é'.repeat(2048)}"]}`, 'configuration-unreadable'],
    ['{"trustedKeys":["none"],"trustPolicy":"empty"}', 'configuration-unreadable'],
    ['{"trustedKeys":["huge"]}', 'key-malformed'],
    ['{"trustedKeys":["policy"],"trustPolicy":"none"}', 'key-malformed'],
    [`{"identities":[${identity}]}`, ''],
    [`{"identities":[${identity},{"issuer":"https://i.example"}]}`, 'identity-missing'],
    ['{"identities":[{"issuer":"","subject":"s"}]}', 'identity-missing'],
    ['{"identities":[{}],"licenses":1}', 'identity-missing'],
    ['{"identities":[{"issuer":1}]}', 'configuration-invalid'],
    ['{"identities":[1]}', 'configuration-invalid'],
    ['{"identities":{}}', 'configuration-invalid'],
    ['{"identities":[]}', 'configuration-invalid'],
    [`{"identities":[{"issuer":"","subject":"${long}"}]}`, 'configuration-invalid'],
    ['{"trustPolicy":"policy"}', ''],
    ['{"trustPolicy":["policy","a/b"]}', ''],
    ['{"trustPolicy":[]}', 'configuration-invalid'],
    ['{"trustPolicy":"cosign.pub"}', 'policy-malformed'],
    ['{"trustedRoot":"root"}', ''],
    ['{"trustedRoot":["root","policy"]}', 'trusted-root-malformed'],
    ['{"streamKey":"key"}', ''],
    ['{"streamKey":["key"]}', 'configuration-invalid'],
    ['{"streamKey":"policy"}', 'stream-key-malformed'],
    [
      '{"licenses":["MIT"],"residency":{"storage-allowed":[{"country":"DE"}]},"epsilon":{"epsilon":"1","delta":"0.1"}}',
      '',
    ],
    ['{"licenses":[]}', ''],
    ['{"licenses":"MIT"}', 'requirement-malformed'],
    ['{"licenses":["Nope-1.0"],"trustPolicy":"none"}', 'requirement-malformed'],
    ['{"residency":{"__proto__":[]}}', 'requirement-malformed'],
    ['{"epsilon":{"epsilon":"1","delta":"1"}}', 'requirement-malformed'],
    ['{"epsilon":{"epsilon":"NaN","delta":"0.1"}}', 'requirement-malformed'],
  ])('%s', async (text, code) => {
    expect(await codeOf(text)).toBe(code);
  });

  test('invalid UTF-8 and a byte order mark', async () => {
    expect(await codeOf(Uint8Array.of(0x7b, 0xff, 0x7d))).toBe('configuration-malformed');
    expect(await codeOf('\ufeff{}')).toBe('configuration-malformed');
  });
});

test.each([
  ['https://a.example', 'https://a.example'],
  ['https://A.example:443/', 'https://a.example'],
  ['https://a.example:00443/x//', 'https://a.example/x'],
  ['http://a.example:80', 'http://a.example'],
  ['http://a.example:443', 'http://a.example:443'],
  ['http://[::1]:8080/A/b', 'http://[::1]:8080/A/b'],
  ['https://a.example:000', 'https://a.example:0'],
  ['https://a.example:', undefined],
  ['https://a.example:123456', undefined],
  ['https://a.example\n', undefined],
  ['https://', undefined],
  ['ftp://a.example', undefined],
])('the normal form of %s', (url, normal) => {
  expect(normalUrl(url)).toBe(normal);
});

test('messages never quote a policy, key or stream key', async () => {
  const secret = 'AGE-SECRET-KEY-PRIVATE';
  const named = new Map([['f', utf8.encode(secret)]]);
  for (const member of ['"trustedKeys":["f"]', '"trustPolicy":"f"', '"streamKey":"f"'])
    await expect(parseConfiguration(`{${member}}`, named)).rejects.not.toThrow(secret);
});

describe('loadConfiguration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'muniment-configuration-'));
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });
  mkdirSync(join(folder, 'keys'));
  writeFileSync(join(folder, 'policy'), policy);
  symlinkSync('policy', join(folder, 'link'));
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  test('paths are relative to the folder, or absolute, and can be links', async () => {
    const paths = ['policy', 'keys/../link', join(folder, 'policy')];
    const configuration = await loadConfiguration(write('paths.json', JSON.stringify({ trustPolicy: paths })));
    const receipt = write('full.json', Buffer.from(receiptOf(receiptCase('full'))).toString());
    const report = await verifyReceipt(configuration, openFile(receipt));
    expect(report).toMatchObject({ verdict: 'verified', file: receipt, proven: { policy: 'policy' } });
  });

  test.each([
    ['a missing file', '{"trustPolicy":"none"}', /none: no such file/],
    ['a folder', '{"trustPolicy":"keys"}', /keys: not a regular file/],
    ['a device', '{"trustPolicy":"/dev/zero"}', /\/dev\/zero: not a regular file/],
  ])('%s', async (_, text, message) => {
    const loaded = loadConfiguration(write('bad.json', text));
    await expect(loaded).rejects.toMatchObject({ code: 'configuration-unreadable' });
    await expect(loaded).rejects.toThrow(message);
  });

  test('a missing configuration, and an endless one', async () => {
    await expect(loadConfiguration(join(folder, 'none.json'))).rejects.toMatchObject({
      code: 'configuration-unreadable',
    });
    await expect(loadConfiguration('/dev/zero')).rejects.toMatchObject({ code: 'configuration-malformed' });
  });
});
