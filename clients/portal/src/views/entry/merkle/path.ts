/**
 * The path of an entry in the Merkle tree: an inclusion proof (RFC 9162,
 * section 2.1.3), node by node.
 */

import { inner } from '@muniment/verify/proof';

/** A range of entries, from the first to before the end. */
export interface Range {
  from: number;
  to: number;
}

/** A node of the tree, which covers a range of entries. */
export interface Node extends Range {
  /** 32 bytes. */
  hash: Uint8Array;
}

/** Two nodes below one parent. The hash of the parent is computed. */
export interface Step {
  sibling: Node;
  /** The side of the sibling. */
  side: 'left' | 'right';
  parent: Node;
}

/**
 * - index: the tree has no such entry
 * - missing, extra: the proof has too few hashes, or too many
 * - root: the computed root is not the signed one
 */
export type PathFault = 'index' | 'missing' | 'extra' | 'root';

/** A path from a leaf to the root. */
export interface Path {
  leaf: Node;
  /** From the leaf up. */
  steps: Step[];
  /** The hash that the checkpoint contains, 32 bytes. */
  signedRoot: Uint8Array;
  /** Undefined: the path leads to the signed root. */
  fault?: PathFault;
}

/** What a path is computed from. */
export interface Inclusion {
  /** From 0. */
  index: number;
  /** From the leaf's sibling to the root's child, 32 bytes each. */
  hashes: readonly Uint8Array[];
  checkpoint: { size: number; root: Uint8Array };
}

/** Computes the path of an entry whose leaf has the hash. */
export function pathOf({ index, hashes, checkpoint: { size, root } }: Inclusion, leafHash: Uint8Array): Path {
  const leaf = { from: index, to: index + 1, hash: leafHash };
  const path: Path = { leaf, steps: [], signedRoot: root };
  if (index >= size) return { ...path, fault: 'index' };
  const siblings = siblingsOf(index, size);
  let node: Node = leaf;
  for (const [i, { side, ...range }] of siblings.entries()) {
    const hash = hashes[i];
    if (hash === undefined) return { ...path, fault: 'missing' };
    const sibling = { ...range, hash };
    node = {
      from: Math.min(node.from, sibling.from),
      to: Math.max(node.to, sibling.to),
      hash: side === 'left' ? inner(hash, node.hash) : inner(node.hash, hash),
    };
    path.steps.push({ sibling, side, parent: node });
  }
  if (hashes.length > siblings.length) return { ...path, fault: 'extra' };
  return isEqual(node.hash, root) ? path : { ...path, fault: 'root' };
}

/** Returns the ranges beside the path, from the leaf's sibling up. */
function siblingsOf(index: number, size: number): (Range & { side: 'left' | 'right' })[] {
  const siblings: (Range & { side: 'left' | 'right' })[] = [];
  let from = 0;
  let to = size;
  while (to - from > 1) {
    const middle = from + split(to - from);
    if (index < middle) {
      siblings.push({ side: 'right', from: middle, to });
      to = middle;
    } else {
      siblings.push({ side: 'left', from, to: middle });
      from = middle;
    }
  }
  return siblings.reverse();
}

/** Returns the largest power of two below n. (Bit operations have 32 bits.) */
function split(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

/** Reports whether two hashes are equal. */
export const isEqual = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);
