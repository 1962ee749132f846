/** The hashes of an entry (entry.md, section 2). */

import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, u64, utf8 } from './bytes.js';

/** Bytes at hand, or in pieces, so that a large payload is never in memory as a whole. */
export type ByteSource = Uint8Array | Iterable<Uint8Array>;

const prefix = {
  entry: utf8('muniment/entry/v2\n'),
  header: utf8('muniment/header/v1\n'),
  link: utf8('muniment/link/v1\n'),
  origin: utf8('muniment/origin/v1\n'),
  payload: utf8('muniment/payload/v1\n'),
  stream: utf8('muniment/stream/v1\n'),
  tag: utf8('muniment/tag/v1\n'),
};

/** What the link hash is made of. */
export interface Link {
  /** 32 bytes. */
  salt: Uint8Array;
  /** Names the stream; 32 bytes. */
  streamId: Uint8Array;
  /** Position of the entry in its stream, from 0. */
  seq: number | bigint;
  /** Leaf hash of the stream's previous entry; 32 bytes. */
  prev: Uint8Array;
}

/** streamID: 32 bytes, of the tenant's stream key (32 bytes). */
export function streamId(streamKey: Uint8Array): Uint8Array {
  return sha256(concat(prefix.stream, streamKey));
}

/** tag: 32 bytes, of the entry at position `seq` of the key's stream. */
export function tag(streamKey: Uint8Array, seq: number | bigint): Uint8Array {
  return hmac(sha256, streamKey, concat(prefix.tag, u64(seq)));
}

/** L: 32 bytes. */
export function linkHash(link: Link): Uint8Array {
  return sha256(concat(prefix.link, link.salt, link.streamId, u64(link.seq), link.prev));
}

/** H: 32 bytes, of the header's bytes and its salt (32 bytes). */
export function headerHash(salt: Uint8Array, header: Uint8Array): Uint8Array {
  return sha256(concat(prefix.header, salt, header));
}

/** C: 32 bytes, of the payload and its salt (32 bytes). */
export function commitment(salt: Uint8Array, payload: ByteSource): Uint8Array {
  const hash = sha256.create().update(prefix.payload).update(salt);
  for (const piece of pieces(payload)) hash.update(piece);
  return hash.digest();
}

/** O: 32 bytes, of the log's origin, the first line of its checkpoints. */
export function originHash(origin: string): Uint8Array {
  return sha256(concat(prefix.origin, utf8(origin)));
}

/** entryHash: 32 bytes, of O, L, the time in milliseconds since 1970, and H. */
export function entryHash(origin: Uint8Array, link: Uint8Array, time: number | bigint, header: Uint8Array): Uint8Array {
  return sha256(concat(prefix.entry, origin, link, u64(time), header));
}

/** The leaf's data: 65 bytes, of tag and entryHash. */
export function leafData(tagOfEntry: Uint8Array, hashOfEntry: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(0x02), tagOfEntry, hashOfEntry);
}

/** The leaf's hash in the tree: 32 bytes (RFC 6962, section 2.1). */
export function leafHash(data: Uint8Array): Uint8Array {
  return sha256(concat(Uint8Array.of(0x00), data));
}

/** The pieces of a byte source. */
export function pieces(source: ByteSource): Iterable<Uint8Array> {
  return source instanceof Uint8Array ? [source] : source;
}
