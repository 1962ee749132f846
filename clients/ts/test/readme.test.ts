import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { NotVerifiedError, parsePolicy, verify } from '../src/index.js';
import { receiptCase, receiptOf, receipts } from './vectors.js';

const subject = 'sha256:b05486c7957763e5781e7271d3d4eff1ec8ccb2ae7e246b0c50d4dc4051e74a3';

/** Runs the library example of the README and returns what it prints. */
function run(receiptBytes: Uint8Array): string {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const example = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  const body = example.replace(/^import .*$/m, '').replace('sha256:2cf24dba…', subject);
  const printed: unknown[] = [];
  const names = ['NotVerifiedError', 'parsePolicy', 'verify', 'policyText', 'receiptBytes', 'console'];
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the README of this package
  const call = new Function(...names, body) as (...values: unknown[]) => void;
  const console = { log: (...values: unknown[]) => printed.push(values[0]) };
  call(NotVerifiedError, parsePolicy, verify, receipts.policies['log'], receiptBytes, console);
  return printed.join('\n');
}

test('the library example of the README', () => {
  const verified = receiptOf(receiptCase('all expectations of a verified entry met'));
  expect(run(verified)).toBe('entry 6 of ledger.example/demo');
  expect(run(receiptOf(receiptCase('full')))).toMatch(/^tenant-mismatch: /);
});
