import { includes, inner } from '@muniment/verify/proof';
import { describe, expect, test } from 'vitest';
import { pathOf } from './path';

const hash = (seed: number) => inner(new Uint8Array(32).fill(seed % 251), new Uint8Array(32).fill(seed >> 8));

/** The root and the inclusion proof of an entry, by the definitions of RFC 6962. */
function treeOf(leaves: readonly Uint8Array[], index: number): { root: Uint8Array; hashes: Uint8Array[] } {
  const [only] = leaves;
  if (leaves.length === 1 && only !== undefined) return { root: only, hashes: [] };
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  const left = treeOf(leaves.slice(0, k), Math.min(index, k - 1));
  const right = treeOf(leaves.slice(k), Math.max(index - k, 0));
  const root = inner(left.root, right.root);
  return index < k ? { root, hashes: [...left.hashes, right.root] } : { root, hashes: [...right.hashes, left.root] };
}

describe('pathOf', () => {
  test('every entry of every tree of up to 24 entries', () => {
    for (let size = 1; size <= 24; size++) {
      const leaves = Array.from({ length: size }, (_, i) => hash(i));
      for (let index = 0; index < size; index++) {
        const { root, hashes } = treeOf(leaves, index);
        const inclusion = { index, hashes, checkpoint: { size, root } };
        const leaf = leaves[index] ?? new Uint8Array();
        const path = pathOf(inclusion, leaf);
        expect(path.fault, `entry ${index} of ${size}`).toBeUndefined();
        expect(includes(inclusion, leaf)).toBe(true);
        const top = path.steps.at(-1)?.parent ?? path.leaf;
        expect([top.from, top.to]).toEqual([0, size]);
        for (const { sibling, side, parent } of path.steps) {
          expect(side === 'left' ? sibling.from : sibling.to).toBe(side === 'left' ? parent.from : parent.to);
          expect(sibling.hash).toEqual(treeOf(leaves.slice(sibling.from, sibling.to), 0).root);
        }
      }
    }
  });

  test('a tree of 2^40 entries', () => {
    const size = 2 ** 40;
    const hashes = Array.from({ length: 40 }, (_, i) => hash(i));
    const { steps } = pathOf({ index: size - 1, hashes, checkpoint: { size, root: hash(0) } }, hash(77));
    expect(steps).toHaveLength(40);
    expect(steps.every(({ side }) => side === 'left')).toBe(true);
    expect(steps.at(-1)).toMatchObject({ sibling: { from: 0, to: 2 ** 39 }, parent: { from: 0, to: size } });
    const root = steps.at(-1)?.parent.hash ?? hash(0);
    const inclusion = { index: size - 1, hashes, checkpoint: { size, root } };
    expect(pathOf(inclusion, hash(77)).fault).toBeUndefined();
    expect(includes(inclusion, hash(77))).toBe(true);
  });

  test.each([
    ['a changed hash', 'root', (hashes: Uint8Array[]) => [hash(9), ...hashes.slice(1)]],
    ['a hash too few', 'missing', (hashes: Uint8Array[]) => hashes.slice(1)],
    ['a hash too many', 'extra', (hashes: Uint8Array[]) => [...hashes, hash(9)]],
  ])('%s', (_, fault, change) => {
    const leaves = Array.from({ length: 13 }, (_, i) => hash(i));
    const { root, hashes } = treeOf(leaves, 7);
    const inclusion = { index: 7, hashes: change(hashes), checkpoint: { size: 13, root } };
    expect(pathOf(inclusion, hash(7)).fault).toBe(fault);
    expect(includes(inclusion, hash(7))).toBe(false);
  });

  test('an entry that is not in the tree', () => {
    expect(pathOf({ index: 3, hashes: [], checkpoint: { size: 3, root: hash(0) } }, hash(3)).fault).toBe('index');
  });
});
