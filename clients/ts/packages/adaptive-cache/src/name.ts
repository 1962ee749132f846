/** Names, tags and their hash: section 3 of the specification. */

import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

/** The most bytes of a tag. */
export const MAX_TAG_BYTES = 256;
/** The most tags of an entry. */
export const MAX_TAGS = 16;

const encoder = new TextEncoder();

const ascii = /^[\x00-\x7f]*$/;

/** Returns the length of a text in UTF-8. */
export function byteLength(text: string): number {
  return ascii.test(text) ? text.length : encoder.encode(text).length;
}

/**
 * Reports whether a text has more bytes in UTF-8 than the limit. It does not
 * encode a text that has more characters than that.
 */
export function exceeds(text: string, limit: number): boolean {
  return text.length > limit || (3 * text.length > limit && byteLength(text) > limit);
}

/**
 * Returns the name of a key: resolver, scope and arguments, encoded so that
 * different keys have different names. The scope is empty for public values,
 * and otherwise comes from {@link privateScope}.
 */
export function nameOf(resolver: string, scope: string, args: string): string {
  return `${byteLength(resolver)}:${resolver}${byteLength(scope)}:${scope}${args}`;
}

/**
 * Returns the scope of values of one session, or undefined without a session:
 * then the value must not be cached.
 */
export function privateScope(session: string | undefined | null): string | undefined {
  return session ? `p${session}` : undefined;
}

/** Returns the tag of all entries of a resolver. */
export function resolverTag(resolver: string): string {
  return shortTag(`resolver:${resolver}`);
}

/** Replaces a tag that is too long for messages by its hash. */
export function shortTag(tag: string): string {
  return exceeds(tag, MAX_TAG_BYTES) ? `sha256:${bytesToHex(sha256(encoder.encode(tag)))}` : tag;
}

/**
 * Returns tags without empty ones and repetitions, each short enough for
 * messages.
 */
export function shortTags(tags: Iterable<string>): string[] {
  const short = new Set<string>();
  for (const tag of tags) {
    if (typeof tag !== 'string') throw new TypeError('a tag must be a string');
    if (tag !== '') short.add(shortTag(tag));
  }
  return [...short];
}

/** The finalizer of MurmurHash3. */
export function mix(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** FNV-1a of a text in UTF-8, mixed. Each process has a seed of its own. */
export function hash(text: string, seed: number): number {
  let h = 0x811c9dc5 ^ seed;
  if (ascii.test(text)) {
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  } else {
    for (const b of encoder.encode(text)) h = Math.imul(h ^ b, 0x01000193);
  }
  return mix(h);
}
