import { inner } from '@muniment/verify/proof';
import { describe, expect, test } from 'vitest';
import { isConsistent } from './consistency';

const leaves = Array.from({ length: 20 }, (_, i) => new Uint8Array(32).fill(i + 1));

/** The root of leaves (RFC 9162, section 2.1.1). */
function rootOf(hashes: readonly Uint8Array[]): Uint8Array {
  const [only = new Uint8Array(32)] = hashes;
  if (hashes.length <= 1) return only;
  const k = splitOf(hashes.length);
  return inner(rootOf(hashes.slice(0, k)), rootOf(hashes.slice(k)));
}

const splitOf = (n: number): number => 2 ** (Math.ceil(Math.log2(n)) - 1);

/** The proof of RFC 9162, section 2.1.4.1. */
function proofOf(m: number, hashes: readonly Uint8Array[], whole = true): Uint8Array[] {
  const n = hashes.length;
  if (m === n) return whole ? [] : [rootOf(hashes)];
  const k = splitOf(n);
  if (m <= k) return [...proofOf(m, hashes.slice(0, k), whole), rootOf(hashes.slice(k))];
  return [...proofOf(m - k, hashes.slice(k), false), rootOf(hashes.slice(0, k))];
}

const treeOf = (size: number) => ({ size: BigInt(size), root: rootOf(leaves.slice(0, size)) });

describe.each(leaves.map((_, i) => i + 1))('a tree of %i', (n) => {
  test('continues each smaller one, and no other', () => {
    for (let m = 1; m <= n; m++) {
      const proof = proofOf(m, leaves.slice(0, n));
      expect(isConsistent(treeOf(m), treeOf(n), proof), `${m}`).toBe(true);
      const other = { ...treeOf(m), root: new Uint8Array(32) };
      expect(isConsistent(other, treeOf(n), proof)).toBe(false);
      expect(isConsistent(treeOf(m), { ...treeOf(n), root: new Uint8Array(32) }, proof)).toBe(false);
      expect(isConsistent(treeOf(m), treeOf(n), [...proof, new Uint8Array(32)])).toBe(false);
      if (proof.length > 0) expect(isConsistent(treeOf(m), treeOf(n), proof.slice(1))).toBe(false);
      if (m < n) expect(isConsistent(treeOf(n), treeOf(m), proof)).toBe(false);
    }
  });
});
