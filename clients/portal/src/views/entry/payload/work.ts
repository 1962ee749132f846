/** The work on a payload that must not stop the page: hashing and parsing. */

import { newCommitment } from '@muniment/verify/commitment';
import type { Content } from './document';
import { MAX_PARSED, read, type About } from './read';

/** What the page sends to the worker: the salt, then the payload in pieces, then the end. */
export type Request =
  | { type: 'begin'; salt: Uint8Array; size: number; commitment: string; about: About }
  | { type: 'piece'; bytes: Uint8Array }
  | { type: 'end' };

/** What the worker answers: the bytes that it has hashed, then the result. */
export type Response =
  { type: 'hashed'; bytes: number } | { type: 'done'; result: Result } | { type: 'failed'; message: string };

/** What a payload is. */
export interface Result {
  size: number;
  /** C, base64. It is the one in the header, or the payload is not that of the entry. */
  commitment: string;
  /** Undefined: there is only the raw view. */
  content?: Content;
  /** The payload is too large to be read as a document. */
  isTooLarge: boolean;
}

/** Hashes a payload in pieces, and reads it. */
export class Work {
  readonly #hash: ReturnType<typeof newCommitment>;
  /** Absent: the payload is too large. */
  #kept: Uint8Array | undefined;
  #size = 0;

  constructor(
    salt: Uint8Array,
    expectedSize: number,
    private readonly about: About,
  ) {
    this.#hash = newCommitment(salt);
    if (expectedSize <= MAX_PARSED) this.#kept = new Uint8Array(expectedSize);
  }

  add(piece: Uint8Array): void {
    this.#hash.update(piece);
    this.#kept?.set(
      piece.subarray(0, Math.max(0, this.#kept.length - this.#size)),
      Math.min(this.#size, this.#kept.length),
    );
    this.#size += piece.length;
  }

  /** Returns what the payload is. It is read as a document only if the header commits to it. */
  end(expected: string): Result {
    const commitment = btoa(String.fromCharCode(...this.#hash.digest()));
    const result: Result = { size: this.#size, commitment, isTooLarge: this.#kept === undefined };
    if (commitment !== expected || this.#kept === undefined) return result;
    const content = read(this.#kept, this.about);
    this.#kept = undefined;
    return content === undefined ? result : { ...result, content };
  }
}
