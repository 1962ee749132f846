/** The tree of an evidence bundle (bundle.md, section 5, step 5). */

import { equal, hex } from '../bytes.js';
import { leafHash } from '../entry.js';
import { inner } from '../proof.js';
import { EvidenceError } from './errors.js';
import { HASH_SIZE, TILE_WIDTH, tileName, type Tile } from './members.js';
import { LeafReader, type EvidenceBundle } from './open.js';

/** The last tile of a level. */
interface Level {
  index: number;
  hashes: Uint8Array[];
}

/** Performs step 5. */
export async function checkTree(bundle: EvidenceBundle): Promise<void> {
  const { size, root } = bundle.manifest;
  const reader = bundle.reader();
  const levels: Level[] = [];
  let different: string | undefined; // is reported after a wrong root
  const compare = async (tile: Tile, hashes: Uint8Array[]) => {
    const name = tileName(tile);
    const content = (await bundle.content(name, reader)) ?? new Uint8Array();
    if (!hashes.every((hash, i) => equal(hash, content.subarray(i * HASH_SIZE, (i + 1) * HASH_SIZE))))
      different ??= name;
  };
  const leaves = new LeafReader(bundle);
  for (let i = 0; i < size; i++) {
    let hash = leafHash(await leaves.at(i));
    for (let level = 0; ; level++) {
      const last = (levels[level] ??= { index: 0, hashes: [] });
      if (last.hashes.push(hash) < TILE_WIDTH) break;
      await compare({ level, index: last.index, width: TILE_WIDTH }, last.hashes);
      hash = rootOf(last.hashes);
      last.index++;
      last.hashes = [];
    }
  }
  let found: Uint8Array | undefined;
  for (const [level, { index, hashes }] of levels.entries()) {
    if (hashes.length > 0) await compare({ level, index, width: hashes.length }, hashes);
    // The nodes to the right of the level's last full tile, and the tree of
    // everything below them.
    const rest = found === undefined ? hashes : [...hashes, found];
    if (rest.length > 0) found = rootOf(rest);
  }
  if (found === undefined || !equal(found, root))
    throw new EvidenceError('tree-root', `the leaves have another root than ${hex(root)}`);
  if (different !== undefined) throw new EvidenceError('tile-mismatch', `${different}: not the tile of the leaves`);
}

/**
 * Returns the root of a tree whose leaves are roots of perfect trees of the
 * same height, except for the last, which can be smaller.
 */
function rootOf(hashes: readonly Uint8Array[]): Uint8Array {
  const [first = new Uint8Array()] = hashes;
  if (hashes.length <= 1) return first;
  let half = 1;
  while (half * 2 < hashes.length) half *= 2;
  return inner(rootOf(hashes.slice(0, half)), rootOf(hashes.slice(half)));
}
