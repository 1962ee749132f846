/** The names and roles of members (bundle.md, section 2). */

export const CHECKPOINT = 'log/checkpoint';
export const MANIFEST = 'manifest.json';

/** The members that every bundle has, besides the manifest. */
export const REQUIRED: readonly string[] = [CHECKPOINT, 'log/policy', 'index.html'];

/** A hash in a tile, and a leaf in an entry bundle, in bytes. */
export const HASH_SIZE = 32;
export const LEAF_SIZE = 65;
export const ENTRY_SIZE = 2 + LEAF_SIZE;

/** The number of nodes of a full tile. */
export const TILE_WIDTH = 256;

const roles: readonly (readonly [RegExp, string])[] = [
  [/^log\/checkpoint$/, 'checkpoint'],
  [/^log\/policy$/, 'policy'],
  [/^index\.html$/, 'report'],
  [/^log\/tile\//, 'tile'],
  [/^entries\/[0-9]{16}\.jsonl$/, 'entries'],
  [/^evidence\/[0-9]{16}\.receipt\.json$/, 'receipt'],
  [/^evidence\/[0-9]{16}\.payload(\.json)?$/, 'payload'],
  [/^assessment\/[^/]*$/, 'report'],
];

/** Returns the role of a member by its name, or undefined if none has it. */
export function roleOf(name: string): string | undefined {
  return roles.find(([pattern]) => pattern.test(name))?.[1];
}

const sixteen = (index: number): string => index.toString().padStart(16, '0');

/** Returns the name of the member whose first record is that of the entry. */
export function entriesName(first: number): string {
  return `entries/${sixteen(first)}.jsonl`;
}

/** Returns the name of an entry's receipt. */
export function receiptName(index: number): string {
  return `evidence/${sixteen(index)}.receipt.json`;
}

/** Returns the name of an entry's payload of a media type. */
export function payloadName(index: number, mediaType: string): string {
  const base = (mediaType.split(';', 1)[0] ?? '').replace(/^[ \t]+|[ \t]+$/g, '');
  const isJson = base === 'application/json' || base.endsWith('+json');
  return `evidence/${sixteen(index)}.payload${isJson ? '.json' : ''}`;
}

/** A tile, or an entry bundle at level −1. */
export interface Tile {
  level: number;
  index: number;
  width: number;
}

/** Returns the name of a tile's member (C2SP tlog-tiles). */
export function tileName({ level, index, width }: Tile): string {
  const groups = [(index % 1000).toString().padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    groups.unshift(`x${(rest % 1000).toString().padStart(3, '0')}`);
  const partial = width === TILE_WIDTH ? '' : `.p/${width}`;
  return `log/tile/${level < 0 ? 'entries' : level}/${groups.join('/')}${partial}`;
}

/** Returns the size of a tile in bytes. */
export function tileSize({ level, width }: Tile): number {
  return width * (level < 0 ? ENTRY_SIZE : HASH_SIZE);
}

/** Yields the tiles of a tree: the entry bundles, and then the levels. */
export function* tiles(size: number): Iterable<Tile> {
  yield* tilesOf(-1, size);
  for (let level = 0, nodes = size; nodes > 0; level++, nodes = Math.floor(nodes / TILE_WIDTH))
    yield* tilesOf(level, nodes);
}

function* tilesOf(level: number, nodes: number): Iterable<Tile> {
  const full = Math.floor(nodes / TILE_WIDTH);
  for (let index = 0; index < full; index++) yield { level, index, width: TILE_WIDTH };
  const rest = nodes % TILE_WIDTH;
  if (rest > 0) yield { level, index: full, width: rest };
}
