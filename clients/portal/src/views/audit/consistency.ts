/** Consistency of two trees (RFC 9162, section 2.1.4.2). */

import { inner } from '@muniment/verify/proof';

export interface Tree {
  size: bigint;
  /** 32 bytes. */
  root: Uint8Array;
}

export const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Reports whether the proof shows that the larger tree continues the smaller one. */
export function isConsistent(first: Tree, second: Tree, proof: readonly Uint8Array[]): boolean {
  if (first.size > second.size || proof.some(({ length }) => length !== 32)) return false;
  if (first.size === second.size) return proof.length === 0 && equal(first.root, second.root);
  if (first.size === 0n) return proof.length === 0;
  const isPower = (first.size & (first.size - 1n)) === 0n;
  const [start, ...path] = isPower ? [first.root, ...proof] : proof;
  if (start === undefined) return false;
  let [fn, sn] = [first.size - 1n, second.size - 1n];
  for (; (fn & 1n) === 1n; fn >>= 1n) sn >>= 1n;
  let [before, after] = [start, start];
  for (const hash of path) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      before = inner(hash, before);
      after = inner(hash, after);
      for (; (fn & 1n) === 0n && fn !== 0n; fn >>= 1n) sn >>= 1n;
    } else after = inner(after, hash);
    fn >>= 1n;
    sn >>= 1n;
  }
  return sn === 0n && equal(before, first.root) && equal(after, second.root);
}
