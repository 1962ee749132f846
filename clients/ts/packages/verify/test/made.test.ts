/** Tests with generated receipts, for what the vectors do not contain. */

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { human, json } from '../src/command/report.js';
import { utf8 } from '../src/bytes.js';
import { NotVerifiedError, parsePolicy, reportOf, verify, type Options } from '../src/index.js';
import { headerText, policyText, receipt } from './log.js';

const policies = [parsePolicy('made', policyText)];
const payload = utf8('a payload');

/** Returns the error with which a receipt is refused. */
function refusal(bytes: Uint8Array, options?: Options): NotVerifiedError {
  try {
    verify(bytes, policies, options);
  } catch (error) {
    if (error instanceof NotVerifiedError) return error;
    throw error;
  }
  throw new Error('it verifies');
}

describe('external evidence', () => {
  const evidence = utf8('evidence');
  const sha256 = createHash('sha256').update(evidence).digest('hex');
  const reference = (digest: Record<string, string>, size = evidence.length) =>
    receipt(headerText(payload, { external: { digest, size } }), payload);

  test.each([{ sha256 }, { SHA256: sha256.toUpperCase() }, { sha256: 'x', Sha256: sha256 }])('%j', (digest) => {
    const checked = verify(reference(digest), policies, { external: evidence });
    expect(checked.externalSha256).toBe(sha256);
    expect(reportOf(checked)).toMatchObject({ content: 'checked' });
    const unchecked = reportOf(verify(reference(digest), policies));
    expect(unchecked.content).toBe('not-checked');
    expect(unchecked.warnings).toContain('content-not-checked');
  });

  test.each<[string, Uint8Array, Uint8Array, string]>([
    ['another', reference({ sha256 }), utf8('Evidence'), 'external-mismatch'],
    ['of another size', reference({ sha256 }, 9), evidence, 'external-mismatch'],
    ['with another algorithm', reference({ sha512: sha256 }), evidence, 'external-mismatch'],
    ['of an entry that is its own evidence', receipt(headerText(payload), payload), payload, 'external-unexpected'],
  ])('%s', (_, bytes, external, code) => {
    expect(refusal(bytes, { external }).code).toBe(code);
  });
});

describe('a genuine receipt with a header', () => {
  test('of 1 MiB', () => {
    const size = (text: string) => utf8(text).length;
    const fill = (n: number) => headerText(payload, { controls: ['é'.repeat(n)] });
    const bytes = (1_048_576 - size(fill(1)) + 2) >> 1;
    const largest = fill(bytes);
    expect(size(largest)).toBeLessThanOrEqual(1_048_576);
    expect(size(largest)).toBeGreaterThan(1_048_573);
    expect(verify(receipt(largest, payload), policies).header?.controls).toHaveLength(1);
    expect(refusal(receipt(fill(bytes + 1), payload)).step).toBe(4);
  });

  test('of another origin', () => {
    expect(refusal(receipt(headerText(payload, { origin: 'other.example' }), payload)).step).toBe(9);
  });

  test('that records another size or commitment', () => {
    const other = utf8('b payload');
    expect(refusal(receipt(headerText(other), payload)).step).toBe(4);
    expect(refusal(receipt(headerText(utf8('a payload and more')), payload)).step).toBe(4);
  });

  test('with an unknown member', () => {
    expect(refusal(receipt(headerText(payload, { approved: 'yes' }), payload)).step).toBe(4);
  });

  test('with subjects named like inherited members', () => {
    const digest = { other: 'aa' };
    const bytes = receipt(headerText(payload, { subjects: [{ digest }] }), payload);
    for (const subject of ['other:aa', 'OTHER:Aa']) expect(verify(bytes, policies, { subject }).index).toBe(0);
    for (const subject of ['toString:x', 'other:aa:bb', 'other:a']) expect(refusal(bytes, { subject }).step).toBe(10);
  });
});

test('a hostile receipt is bounded', () => {
  const text = utf8(`{"a":[${'[],'.repeat(1 << 19)}0]}`);
  expect(refusal(text)).toMatchObject({ step: 1, code: 'receipt-malformed' });
});

describe('the report', () => {
  const evil = 'x\n✓ VERIFIED  other\u001b[2K\u007f\u009b\u200e\u202e\u2066\u2028\u2029\ufeff';
  const statement = verify(
    receipt(
      headerText(payload, {
        mediaType: evil,
        submitter: evil,
        predicateType: evil,
        subjects: [{ name: evil, digest: { [evil]: evil } }],
        signers: [{ identity: evil, issuer: evil }, { keyId: evil }],
        controls: [evil],
        attributes: { [evil]: evil },
        verification: { result: 'failed', format: evil, reason: evil },
        admission: { result: 'recorded', rule: evil, reason: evil },
      }),
      payload,
      2 ** 53 - 1,
    ),
    policies,
  );

  test('as text has no control characters or lines from the receipt', () => {
    const text = human({ receipt: evil, statement });
    const lines = text.split('\n');
    expect(lines.filter((line) => line.startsWith('✓'))).toHaveLength(1);
    expect(lines.slice(1).every((line) => line.startsWith('  '))).toBe(true);
    expect(lines.join('')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
    expect(text).toContain('9007199254740991 ms');
    const error = new NotVerifiedError('inclusion', evil);
    expect(human({ receipt: evil, error, refused: true }).split('\n')).toHaveLength(2);
  });

  test('as JSON is one line', () => {
    const line = json({ receipt: evil, statement });
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(JSON.parse(line)).toMatchObject({
      receipt: evil,
      verdict: 'verified',
      claimed: { header: { submitter: evil, attributes: { [evil]: evil } } },
    });
  });
});
