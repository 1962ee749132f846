/** The forms of reports (verify.md, sections 4 and 5). */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { human } from '../src/command/report.js';
import { FailedReport, parsePolicy, VerifiedReport, verify, WARNINGS, type VerificationKind } from '../src/index.js';
import { itemsOf, type Value } from '../src/report/items.js';
import { receiptCase, receiptOf, receipts } from './vectors.js';

const spec = (path: string) => readFileSync(new URL(`../../../../../docs/spec/${path}`, import.meta.url), 'utf8');

test('text of a receipt without a configuration has the order of the header', () => {
  const receipt = receiptOf(receiptCase('names of numbers, which objects of some languages sort'));
  const policy = parsePolicy('log', receipts.policies['log'] ?? '');
  const statement = verify(receipt, [policy]);
  expect(human({ receipt: 'r', statement })).toContain(' about gitCommit:abc 7:x 1:y sha256:5ed60980');
});

test('warnings are those of the table', () => {
  expect(Object.fromEntries(WARNINGS)).toEqual(JSON.parse(spec('tables/verify-warnings.json')));
});

test.each<[Record<string, Value>, string[]]>([
  [{ a: 'b', c: 3, d: true, e: false }, ['a: b', 'c: 3', 'd: yes', 'e: no']],
  [
    { time: 0, first: 1, newest: 1000 },
    [
      'time: 0 (1970-01-01T00:00:00.000Z)',
      'first: 1 (1970-01-01T00:00:00.001Z)',
      'newest: 1000 (1970-01-01T00:00:01.000Z)',
    ],
  ],
  [{ time: 253402300799999 }, ['time: 253402300799999 (9999-12-31T23:59:59.999Z)']],
  [{ time: 253402300800000 }, ['time: 253402300800000']],
  [{ times: [5], sizes: [5] }, ['times: 5 (1970-01-01T00:00:00.005Z)', 'sizes: 5']],
  [{ entry: { origin: 'o', time: 5 } }, ['entry.origin: o', 'entry.time: 5 (1970-01-01T00:00:00.005Z)']],
  [{ licenses: [] }, ['licenses: none']],
  [{ empty: {}, deep: { a: [], b: [{}] } }, []],
  [
    {
      files: [
        { name: 'a', checked: true },
        { name: 'b', checked: false },
      ],
    },
    ['files: name a, checked yes', 'files: name b, checked no'],
  ],
  [{ list: [{ a: ['x', 'y'], b: { c: 1 } }] }, ['list: a[0] x, a[1] y, b.c 1']],
  [{ list: [['x', ['y']]] }, ['list: [0] x, [1][0] y']],
  [{ header: { subjects: [{ digest: { sha256: 'd' } }] } }, ['header.subjects[0].digest.sha256: d']],
])('the items of %j', (object, items) => {
  expect(itemsOf(object).map(({ label, value }) => `${label}: ${value}`)).toEqual(items);
});

const signed = new VerifiedReport(
  'a\u001b[31m<b>&"\'.json',
  'sigstore-bundle',
  { bundleSha256: '00', signer: { identity: 'é\u202e', issuer: 'https://i.example' } },
  {},
  ['artifact-not-checked'],
);
const refused = new FailedReport('r.json', 'receipt', 'not-verified', 'inclusion', 8, 'no \u0007 path');
const unknown = new FailedReport<VerificationKind>('x', undefined, 'error', 'kind-unknown', 0, 'name it');

test('text', () => {
  expect(signed.toText()).toBe(
    [
      '✓ VERIFIED  sigstore-bundle  a\\u001b[31m<b>&"\'.json',
      'Proven',
      '  bundleSha256     00',
      '  signer.identity  é\\u202e',
      '  signer.issuer    https://i.example',
      'Warnings',
      `  artifact-not-checked  ${WARNINGS.get('artifact-not-checked') ?? ''}`,
      'What this report does not prove: docs/sdk-trust-boundary.md#sigstore-bundles',
      '',
    ].join('\n'),
  );
  expect(refused.toText()).toBe(
    '✗ NOT VERIFIED  receipt  r.json\n  step 8: no \\u0007 path (inclusion)\n' +
      'What this report does not prove: docs/sdk-trust-boundary.md#receipts\n',
  );
  expect(unknown.toText()).toBe(
    '? ERROR  x\n  step 0: name it (kind-unknown)\nWhat this report does not prove: docs/sdk-trust-boundary.md\n',
  );
});

test('JSON has the members in order, and no null', () => {
  expect(JSON.stringify(refused)).toBe(
    '{"file":"r.json","kind":"receipt","verdict":"not-verified","code":"inclusion","step":8,"message":"no \\u0007 path"}',
  );
  expect(Object.keys(JSON.parse(JSON.stringify(signed)) as object)).toEqual([
    'file',
    'kind',
    'verdict',
    'proven',
    'claimed',
    'warnings',
  ]);
  expect(JSON.stringify(unknown)).toBe(
    '{"file":"x","verdict":"error","code":"kind-unknown","step":0,"message":"name it"}',
  );
});

describe('the page', () => {
  const page = signed.toHTML();

  test('has no scripts and needs no other file', () => {
    expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(page).not.toMatch(/<(script|form|img|link|a|iframe|object|base)\b|\son\w+=|javascript:|url\(|@import/i);
    const policy = page.indexOf('default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;');
    expect(policy).toBeGreaterThan(0);
    expect(policy).toBeLessThan(page.indexOf('<style>'));
  });

  test('escapes what files contain', () => {
    expect(page).toContain('a\\u001b[31m&lt;b&gt;&amp;&quot;&#39;.json');
    expect(page).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]|<b>/);
    expect(page).toContain('<th scope="row">signer.identity</th><td>é\\u202e</td>');
  });

  test('has the reason of a refusal, and the boundary', () => {
    expect(refused.toHTML()).toContain('✗ NOT VERIFIED');
    expect(refused.toHTML()).toContain('<td>inclusion</td>');
    expect(refused.toHTML()).toContain('docs/sdk-trust-boundary.md#receipts');
    expect(page).toContain(WARNINGS.get('artifact-not-checked'));
  });
});

test('the anchors of the boundary are headings of its page', () => {
  const page = readFileSync(new URL('../../../../../docs/sdk-trust-boundary.md', import.meta.url), 'utf8');
  const headings = [...page.matchAll(/^## (.*)$/gm)].map((m) => (m[1] ?? '').toLowerCase().replaceAll(' ', '-'));
  for (const anchor of ['receipts', 'sigstore-bundles', 'exports', 'streams', 'evidence-bundles'])
    expect(headings).toContain(anchor);
});
