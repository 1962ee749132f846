/** An open evidence bundle (bundle.md, section 5, steps 1 and 2). */

import { sha256 } from '@noble/hashes/sha2.js';
import { hex } from '../bytes.js';
import { quote } from '../json.js';
import { Reader, type Source } from '../source.js';
import { readArchive, type ArchiveMember } from './archive.js';
import { EvidenceError, unreadable } from './errors.js';
import { MAX_MANIFEST_BYTES, parseManifest, type EvidenceManifest } from './manifest.js';
import { ENTRY_SIZE, LEAF_SIZE, MANIFEST, REQUIRED, roleOf, TILE_WIDTH, tileName, tiles, tileSize } from './members.js';

/** The largest member that is read into memory, in bytes. */
const maxRead = 16 << 20;

/**
 * An open bundle. Its manifest matches its members. Nothing else is verified.
 */
export class EvidenceBundle {
  private readonly places = new Map<string, ArchiveMember>();

  private constructor(
    readonly manifest: EvidenceManifest,
    /** `sha256:` and the SHA-256 of the manifest. */
    readonly identity: string,
    /** The members except the manifest, in the order of the manifest. */
    readonly members: readonly ArchiveMember[],
    private readonly source: Source,
    private readonly signal: AbortSignal | undefined,
  ) {
    for (const member of members) this.places.set(member.name, member);
  }

  /** Performs steps 1 and 2. */
  static async open(source: Source, signal?: AbortSignal): Promise<EvidenceBundle> {
    const reader = new Reader(source, unreadable, signal);
    const members = await readArchive(reader);
    const last = members.pop();
    if (last?.name !== MANIFEST)
      throw new EvidenceError(
        'manifest-missing',
        `the last member is ${last?.name ?? 'missing'}, expected ${MANIFEST}`,
      );
    if (last.size > MAX_MANIFEST_BYTES)
      throw new EvidenceError('manifest-malformed', `${MANIFEST}: exceeds ${MAX_MANIFEST_BYTES} bytes`);
    const text = await reader.read(last.offset, last.size);
    const manifest = parseManifest(text);
    const bundle = new EvidenceBundle(manifest, `sha256:${hex(sha256(text))}`, members, source, signal);
    bundle.compare();
    return bundle;
  }

  /** Performs step 2.3. */
  private compare(): void {
    const listed = this.manifest.members;
    if (listed.length !== this.members.length)
      throw differ(`it lists ${listed.length} members, but the archive has ${this.members.length} others`);
    let tileCount = 0;
    for (const [i, { name, size }] of this.members.entries()) {
      const member = listed[i];
      if (member?.name !== name) throw differ(`it lists ${quote(member?.name ?? '')}, but the archive has ${name}`);
      if (member.size !== size) throw differ(`${name}: it lists ${member.size} bytes, but the archive has ${size}`);
      if (member.role !== roleOf(name))
        throw differ(`${name}: no member of the role ${quote(member.role)} has this name`);
      if (member.role === 'tile') tileCount++;
    }
    for (const name of REQUIRED) if (!this.places.has(name)) throw differ(`no member ${name}`);
    this.compareTiles(tileCount);
  }

  private compareTiles(have: number): void {
    let count = 0;
    for (const tile of tiles(this.manifest.size)) {
      const name = tileName(tile);
      const place = this.places.get(name);
      if (place === undefined) throw differ(`no member ${name}`);
      if (place.size !== tileSize(tile)) throw differ(`${name}: ${place.size} bytes, expected ${tileSize(tile)}`);
      count++;
    }
    if (count !== have) throw differ('it lists a tile that the tree does not have');
  }

  /** Returns a new reader of the file. */
  reader(): Reader {
    return new Reader(this.source, unreadable, this.signal);
  }

  /** Returns the place of a member. */
  place(name: string): ArchiveMember | undefined {
    return this.places.get(name);
  }

  /**
   * Returns the content of a small member, or undefined if it is absent or too
   * large.
   */
  async content(name: string, reader: Reader = this.reader()): Promise<Uint8Array | undefined> {
    const place = this.places.get(name);
    return place === undefined || place.size > maxRead ? undefined : await reader.read(place.offset, place.size);
  }
}

function differ(problem: string): EvidenceError {
  return new EvidenceError('members-differ', `${MANIFEST}: ${problem}`);
}

/** Reads leaf data from the entry bundles, best in the order of indexes. */
export class LeafReader {
  private tile = -1;
  private data = new Uint8Array();
  private readonly reader: Reader;

  constructor(private readonly bundle: EvidenceBundle) {
    this.reader = bundle.reader();
  }

  /**
   * Returns the data of a leaf, which is valid until the next call. Performs
   * step 5.1.
   */
  async at(index: number): Promise<Uint8Array> {
    const tile = Math.floor(index / TILE_WIDTH);
    if (tile !== this.tile) await this.load(tile);
    const start = (index % TILE_WIDTH) * ENTRY_SIZE;
    return this.data.subarray(start + 2, start + ENTRY_SIZE);
  }

  private async load(index: number): Promise<void> {
    const width = Math.min(TILE_WIDTH, this.bundle.manifest.size - index * TILE_WIDTH);
    const name = tileName({ level: -1, index, width });
    const data = (await this.bundle.content(name, this.reader)) ?? new Uint8Array();
    for (let at = 0; at < data.length; at += ENTRY_SIZE)
      if (data[at] !== 0 || data[at + 1] !== LEAF_SIZE || data[at + 2] !== 0x02)
        throw new EvidenceError('leaves-malformed', `${name}: leaf ${at / ENTRY_SIZE} is not that of an entry`);
    this.tile = index;
    this.data = data.slice();
  }
}
