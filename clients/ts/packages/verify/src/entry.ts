/** The hashes of an entry (entry.md, section 2). */

import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, u64, utf8 } from './bytes.js';

/** Bytes, or an iterable of their pieces, which need not fit in memory. */
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

/** An entry's place in its stream. */
export interface Link {
  /** 32 bytes. */
  salt: Uint8Array;
  /** The ID of the stream, 32 bytes. */
  streamId: Uint8Array;
  /** The entry's sequence number in the stream, from 0. */
  seq: number | bigint;
  /** The leaf hash of the stream's previous entry, or zeros. 32 bytes. */
  prev: Uint8Array;
}

/** Returns the ID (32 bytes) of the stream of a stream key (32 bytes). */
export function streamId(streamKey: Uint8Array): Uint8Array {
  return sha256(concat(prefix.stream, streamKey));
}

/** Returns the tag (32 bytes) of entry `seq`, from 0, of the key's stream. */
export function tag(streamKey: Uint8Array, seq: number | bigint): Uint8Array {
  return hmac(sha256, streamKey, concat(prefix.tag, u64(seq)));
}

/** Returns a function that returns the tag of an entry of the key's stream. */
export function tagger(streamKey: Uint8Array): (seq: number) => Uint8Array {
  const keyed = hmac.create(sha256, streamKey);
  return (seq) => keyed.clone().update(prefix.tag).update(u64(seq)).digest();
}

/** Returns L, 32 bytes. */
export function linkHash(link: Link): Uint8Array {
  return sha256(concat(prefix.link, link.salt, link.streamId, u64(link.seq), link.prev));
}

/** Returns H (32 bytes), from the header's salt (32 bytes) and its bytes. */
export function headerHash(salt: Uint8Array, header: Uint8Array): Uint8Array {
  return sha256(concat(prefix.header, salt, header));
}

/** Begins the hash C of a payload, which its bytes complete. */
export function newCommitment(salt: Uint8Array): ReturnType<typeof sha256.create> {
  return sha256.create().update(prefix.payload).update(salt);
}

/** Returns C (32 bytes), from the payload's salt (32 bytes) and its bytes. */
export function commitment(salt: Uint8Array, payload: ByteSource): Uint8Array {
  const hash = newCommitment(salt);
  for (const piece of pieces(payload)) hash.update(piece);
  return hash.digest();
}

/** Returns O (32 bytes), the hash of a log's origin. */
export function originHash(origin: string): Uint8Array {
  return sha256(concat(prefix.origin, utf8(origin)));
}

/**
 * Returns entryHash (32 bytes), from O, L, the time in Unix milliseconds, and
 * H.
 */
export function entryHash(origin: Uint8Array, link: Uint8Array, time: number | bigint, header: Uint8Array): Uint8Array {
  return sha256(concat(prefix.entry, origin, link, u64(time), header));
}

/** Returns the data of a leaf (65 bytes), from its tag and entryHash. */
export function leafData(tagOfEntry: Uint8Array, hashOfEntry: Uint8Array): Uint8Array {
  return concat(Uint8Array.of(0x02), tagOfEntry, hashOfEntry);
}

/** Returns the hash of a leaf, 32 bytes (RFC 6962, section 2.1). */
export function leafHash(data: Uint8Array): Uint8Array {
  return sha256(concat(Uint8Array.of(0x00), data));
}

/** Returns the pieces of a byte source. */
export function pieces(source: ByteSource): Iterable<Uint8Array> {
  return source instanceof Uint8Array ? [source] : source;
}
