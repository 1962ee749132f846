/** The built runner for files of mutants (receipt.md, section 6). */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { fingerprint, judge, type Mutant } from '../src/mutants.js';
import { parsePolicy, verify } from '../src/index.js';
import { optionsOf, policiesOf, receiptOf, receipts, type ReceiptCase } from './vectors.js';

/** Returns a case of receipts.json as a line for the runner. */
function mutant(c: ReceiptCase, id: number): Mutant {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const { streamKey, ...expect } = c.expect ?? {};
  const made: Mutant = {
    id,
    receipt: c.receiptBase64,
    policies: c.policies.map((name) => base64(receipts.policies[name] ?? '')),
    expect,
  };
  if (streamKey !== undefined) made.streamKey = base64(receipts.streamKeys[streamKey] ?? '');
  if (c.payload !== undefined) made.payload = receipts.payloads[c.payload] ?? '';
  if (c.external !== undefined) made.external = receipts.payloads[c.external] ?? '';
  if (c.headerOnly === true) made.headerOnly = true;
  return made;
}

test('the vectors', () => {
  const folder = mkdtempSync(join(tmpdir(), 'muniment-mutants-'));
  const file = join(folder, 'mutants');
  writeFileSync(file, receipts.cases.map((c, id) => `${JSON.stringify(mutant(c, id))}\n`).join(''));
  const program = fileURLToPath(new URL('../dist/mutants.js', import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [program, file], { encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  expect(stderr).toBe('');
  const lines = stdout.trim().split('\n');
  expect(lines).toHaveLength(receipts.cases.length);
  for (const [id, c] of receipts.cases.entries()) {
    const statement = () =>
      fingerprint(
        verify(
          receiptOf(c),
          policiesOf(c).map((_, i) => policy(c, i)),
          optionsOf(c),
        ),
      );
    expect(lines[id]).toBe(`${id} ${c.verdict} ${c.verdict === 'verified' ? statement() : (c.reason ?? '')}`);
  }
});

/** Returns policy `i` of a case, with the name that the runner gives it. */
function policy(c: ReceiptCase, i: number) {
  return parsePolicy(String(i), receipts.policies[c.policies[i] ?? ''] ?? '');
}

test('a malformed policy ranks before a malformed stream key', async () => {
  const broken = { id: 1, receipt: '', policies: ['eA=='], streamKey: '' };
  expect(await judge(broken)).toBe('not-checked policy-malformed');
  expect(await judge({ ...broken, policies: [] })).toBe('not-checked policy-missing');
});
