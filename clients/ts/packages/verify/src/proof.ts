/**
 * The proof in a receipt: a C2SP tlog-proof with a signed checkpoint
 * (receipt.md, section 2).
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { concat, equal, fromBase64, hex, utf8 } from './bytes.js';
import { FormatError } from './errors.js';
import { parseInteger } from './json.js';

/** A signature line of a checkpoint. */
export interface SignatureLine {
  /** The name of the key, which for the log is its origin. */
  keyName: string;
  /** 8 lowercase hexadecimal digits. */
  keyHash: string;
  /** 1 or more bytes. */
  signature: Uint8Array;
}

/** A parsed signed checkpoint. Nothing in it is verified. */
export interface Checkpoint {
  /** The three signed lines, with the final newline. */
  text: string;
  /** The name of the log. */
  origin: string;
  /** The number of entries in the tree. */
  size: number;
  /** 32 bytes. */
  root: Uint8Array;
  /** 1 to 100 lines. */
  signatures: SignatureLine[];
}

/** A parsed inclusion proof. Nothing in it is verified. */
export interface Proof {
  /** The entry's index in the log, from 0. */
  index: number;
  /**
   * 0 to 63 hashes of 32 bytes, from the leaf's sibling to the root's child.
   */
  hashes: Uint8Array[];
  /** The parsed checkpoint. */
  checkpoint: Checkpoint;
  /** The text of the checkpoint, with its signatures. */
  note: string;
}

/** Size limit of checkpoints, in bytes. */
export const MAX_CHECKPOINT_BYTES = 258_048;

const maxProof = 262_144; // bytes
const maxHashes = 63;
const maxSignatures = 100;

/**
 * Parses the member `proof` of a receipt. Throws FormatError with the code
 * `proof-malformed`.
 */
export function parseProof(text: string): Proof {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof FormatError) throw new FormatError(error.message, 'proof-malformed');
    throw error;
  }
}

function parse(text: string): Proof {
  if (text.length > maxProof || utf8(text).length > maxProof) throw new FormatError(`proof: exceeds ${maxProof} bytes`);
  const lines = new Lines(text, 'proof');
  if (lines.next('the first line') !== 'c2sp.org/tlog-proof@v1')
    throw new FormatError('proof: the first line must be c2sp.org/tlog-proof@v1');
  const index = /^index (.*)$/.exec(lines.next('the index line'))?.[1];
  const proof = { index: count(index, 'proof: index'), hashes: [] as Uint8Array[] };
  for (let line = lines.next('a hash'); line !== ''; line = lines.next('the empty line after the hashes')) {
    if (proof.hashes.length === maxHashes) throw new FormatError(`proof: more than ${maxHashes} hashes`);
    proof.hashes.push(hash(line, `proof: hash ${proof.hashes.length}`));
  }
  const note = lines.rest();
  return { ...proof, checkpoint: parseCheckpoint(note), note };
}

/**
 * Parses a signed checkpoint. Throws FormatError.
 */
export function parseCheckpoint(text: string): Checkpoint {
  if (utf8(text).length > MAX_CHECKPOINT_BYTES)
    throw new FormatError(`checkpoint: exceeds ${MAX_CHECKPOINT_BYTES} bytes`);
  if (/[\x00-\x09\x0b-\x1f]/.test(text)) throw new FormatError('checkpoint: contains a control character');
  const lines = new Lines(text, 'checkpoint');
  const origin = lines.next('the origin');
  if (origin === '') throw new FormatError('checkpoint: the origin must not be empty');
  const size = count(lines.next('the tree size'), 'checkpoint: tree size');
  const root = hash(lines.next('the root hash'), 'checkpoint: root hash');
  const signed = text.slice(0, text.length - lines.rest().length);
  if (lines.next('the empty line after the root hash') !== '')
    throw new FormatError('checkpoint: extension lines are not allowed');
  const signatures: SignatureLine[] = [];
  while (!lines.done()) {
    if (signatures.length === maxSignatures)
      throw new FormatError(`checkpoint: more than ${maxSignatures} signature lines`);
    signatures.push(signatureLine(lines.next('a signature'), signatures.length));
  }
  if (signatures.length === 0) throw new FormatError('checkpoint: no signature lines');
  return { text: signed, origin, size, root, signatures };
}

/** Reads a signature line of a note. */
export function signatureLine(line: string, i: number): SignatureLine {
  const parts = /^— ([^ ]+) ([^ ]+)$/.exec(line);
  const keyName = parts?.[1] ?? '';
  const bytes = fromBase64(parts?.[2] ?? '');
  if (!isKeyName(keyName) || bytes === undefined || bytes.length < 5)
    throw new FormatError(`checkpoint: signature line ${i + 1}: must be "— <key name> <base64 of 5 or more bytes>"`);
  return { keyName, keyHash: hex(bytes.subarray(0, 4)), signature: bytes.subarray(4) };
}

/**
 * Reports whether the text is a key name: not empty, and without a plus or
 * Unicode white space.
 */
export function isKeyName(text: string): boolean {
  return /^[^+\p{White_Space}]+$/u.test(text);
}

function count(literal: string | undefined, what: string): number {
  const value = parseInteger(literal ?? '');
  if (value === undefined) throw new FormatError(`${what}: must be a decimal from 0 to 2^53-1 without leading zeros`);
  return value;
}

function hash(line: string, what: string): Uint8Array {
  const bytes = fromBase64(line);
  if (bytes?.length !== 32) throw new FormatError(`${what}: must be the base64 of 32 bytes`);
  return bytes;
}

/** Reads lines, each ending with 0x0A, from the start of a text. */
class Lines {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly what: string,
  ) {}

  next(expected: string): string {
    const end = this.text.indexOf('\n', this.at);
    if (end < 0) throw new FormatError(`${this.what}: ends before the newline after ${expected}`);
    const line = this.text.slice(this.at, end);
    this.at = end + 1;
    return line;
  }

  done(): boolean {
    return this.at === this.text.length;
  }

  rest(): string {
    return this.text.slice(this.at);
  }
}

/** What an inclusion proof consists of. */
export interface Inclusion {
  index: number;
  hashes: Uint8Array[];
  checkpoint: { size: number; root: Uint8Array };
}

/**
 * Reports whether the proof leads from the leaf hash to the checkpoint's root
 * (RFC 9162, section 2.1.3.2).
 */
export function includes(proof: Inclusion, leafHash: Uint8Array): boolean {
  const { size, root } = proof.checkpoint;
  if (proof.index >= size) return false;
  // Arithmetic instead of bit operations, which are limited to 32 bits.
  let node = proof.index;
  let last = size - 1;
  let hash = leafHash;
  for (const sibling of proof.hashes) {
    if (last === 0) return false;
    if (node % 2 === 1 || node === last) {
      hash = inner(sibling, hash);
      while (node % 2 === 0 && node !== 0) {
        node /= 2;
        last = Math.floor(last / 2);
      }
    } else {
      hash = inner(hash, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && equal(hash, root);
}

/** Returns the hash of a node of the tree, 32 bytes (RFC 6962, section 2.1). */
export function inner(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat(Uint8Array.of(0x01), left, right));
}
