/** What only receipts that are made for it can show. */

import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { human, json } from '../src/command/report.js';
import { utf8 } from '../src/bytes.js';
import { NotVerifiedError, parsePolicy, verify, type Options } from '../src/index.js';
import { headerText, policyText, receipt } from './log.js';

const policies = [parsePolicy('made', policyText)];
const payload = utf8('a payload');

/** The error that a receipt is refused with. */
function refusal(bytes: Uint8Array, options?: Options): NotVerifiedError {
  try {
    verify(bytes, policies, options);
  } catch (error) {
    if (error instanceof NotVerifiedError) return error;
    throw error;
  }
  throw new Error('it verifies');
}

describe('evidence that is kept elsewhere', () => {
  const evidence = utf8('evidence');
  const sha256 = createHash('sha256').update(evidence).digest('hex');
  const reference = (digest: Record<string, string>, size = evidence.length) =>
    receipt(headerText(payload, { external: { digest, size } }), payload);

  test('is checked', () => {
    expect(verify(reference({ sha256 }), policies, { external: evidence }).externalChecked).toBe(true);
    expect(verify(reference({ sha256 }), policies).externalChecked).toBe(false);
  });

  test.each<[string, Uint8Array, Uint8Array]>([
    ['another', reference({ sha256 }), utf8('Evidence')],
    ['of another size', reference({ sha256 }, 9), evidence],
    ['with a digest in upper case', reference({ sha256: sha256.toUpperCase() }), evidence],
    ['with another algorithm', reference({ sha512: sha256 }), evidence],
    ['of an entry that is its own evidence', receipt(headerText(payload), payload), payload],
  ])('%s', (_, bytes, external) => {
    expect(refusal(bytes, { external }).step).toBe(10);
  });
});

describe('a genuine receipt of a header', () => {
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

  test('that says another size or commitment', () => {
    const other = utf8('b payload');
    expect(refusal(receipt(headerText(other), payload)).step).toBe(4);
    expect(refusal(receipt(headerText(utf8('a payload and more')), payload)).step).toBe(4);
  });

  test('with an unknown member', () => {
    expect(refusal(receipt(headerText(payload, { approved: 'yes' }), payload)).step).toBe(4);
  });

  test('with subjects named as what every object inherits', () => {
    const digest = { sha256: 'aa' };
    const bytes = receipt(headerText(payload, { subjects: [{ digest }] }), payload);
    expect(verify(bytes, policies, { subject: 'sha256:aa' }).index).toBe(0);
    for (const subject of ['toString:x', 'sha256:aa:bb', 'sha256: aa', 'SHA256:aa'])
      expect(refusal(bytes, { subject }).step).toBe(10);
  });
});

describe('what is printed', () => {
  const evil = 'x\n✓ VERIFIED  other\u001b[2K\u202e\u2028';
  const statement = verify(
    receipt(
      headerText(payload, {
        mediaType: evil,
        submitter: evil,
        predicateType: evil,
        subjects: [{ name: evil, digest: { [evil]: evil } }],
        signers: [{ identity: evil, issuer: evil }, { keyId: evil }],
        verification: { result: 'failed', format: evil, reason: evil },
      }),
      payload,
      2 ** 53 - 1,
    ),
    policies,
  );

  test('to people has no control characters of others, and no line that they made', () => {
    const text = human({ receipt: evil, checked: true, statement });
    const lines = text.split('\n');
    expect(lines.filter((line) => line.startsWith('✓'))).toHaveLength(1);
    expect(lines.slice(1).every((line) => line.startsWith('  '))).toBe(true);
    expect(lines.join('')).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}]/u);
    expect(text).toContain('9007199254740991 ms');
    expect(human({ receipt: evil, checked: true, error: evil }).split('\n')).toHaveLength(2);
  });

  test('to programs is one line', () => {
    expect(json({ receipt: evil, checked: true, statement })).not.toContain('\n');
  });
});
