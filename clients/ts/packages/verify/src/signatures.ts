/**
 * Keys of policies, and their signatures of checkpoints (receipt.md, sections 3
 * and 4).
 */

import { Point } from '@noble/ed25519';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';
import { concat, equal, fromBase64, hex, u64, utf8 } from './bytes.js';
import { isKeyName, type Checkpoint } from './proof.js';

/** The algorithm bytes of signed-note keys (C2SP signed-note). */
const algorithms = {
  /** Ed25519 signatures of the note's text. */
  note: 0x01,
  /** Timestamped Ed25519 cosignatures. */
  cosignature: 0x04,
  /** Timestamped ML-DSA-44 cosignatures. */
  mlDsa: 0x06,
} as const;

/** The algorithm of a key. */
export type Algorithm = keyof typeof algorithms;

/** A signed-note key. */
export interface Key {
  /** The name of the log or witness. */
  name: string;
  /** 8 lowercase hexadecimal digits. */
  hash: string;
  /** The algorithm of its signatures. */
  algorithm: Algorithm;
  /** 32 bytes (Ed25519) or 1,312 (ML-DSA-44). */
  publicKey: Uint8Array;
}

/** Returns `<key name>+<key hash>`, which identifies signers in statements. */
export function keyId(key: Key): string {
  return `${key.name}+${key.hash}`;
}

/**
 * Parses `<name>+<hash>+<base64 of algorithm byte and public key>`.
 *
 * @throws Error if it is malformed; the message never quotes the key
 */
export function parseKey(text: string): Key {
  const [, name = '', hash = '', encoded = ''] = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(text) ?? [];
  const bytes = fromBase64(encoded);
  if (!isKeyName(name) || !/^[0-9a-f]{8}$/.test(hash) || bytes === undefined)
    throw new Error('a key must have the form <name>+<hash, 8 lowercase hexadecimal digits>+<base64>');
  const publicKey = bytes.subarray(1);
  const algorithm = (Object.keys(algorithms) as Algorithm[]).find((a) => algorithms[a] === bytes[0]);
  if (algorithm === undefined) throw new Error('unsupported key algorithm');
  const size = algorithm === 'mlDsa' ? 1312 : 32;
  if (publicKey.length !== size) throw new Error(`the key must be ${size} bytes long, not ${publicKey.length}`);
  if (algorithm === 'mlDsa' && utf8(name).length > 255)
    throw new Error('the name of an ML-DSA-44 key must not exceed 255 bytes');
  const computed = hex(sha256(concat(utf8(`${name}\n`), bytes)).subarray(0, 4));
  if (computed !== hash) throw new Error('the key hash does not match the name and key');
  return { name, hash, algorithm, publicKey };
}

/**
 * Reports whether the key signed the checkpoint. A signature of the wrong
 * length does not verify.
 */
export function verifies(key: Key, signature: Uint8Array, checkpoint: Checkpoint): boolean {
  if (key.algorithm === 'note') return verifyEd25519(key.publicKey, utf8(checkpoint.text), signature);
  if (signature.length < 8) return false;
  const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
  if (time >= 1n << 63n) return false;
  if (key.algorithm === 'cosignature') {
    const message = utf8(`cosignature/v1\ntime ${time}\n${checkpoint.text}`);
    return verifyEd25519(key.publicKey, message, signature.subarray(8));
  }
  const name = utf8(key.name);
  const origin = utf8(checkpoint.origin);
  if (signature.length !== 8 + 2420 || origin.length > 255) return false;
  const message = concat(
    utf8('subtree/v1\n\0'),
    concat(Uint8Array.of(name.length), name, u64(time)),
    concat(Uint8Array.of(origin.length), origin),
    concat(u64(0), u64(checkpoint.size), checkpoint.root),
  );
  return ml_dsa44.verify(signature.subarray(8), message, key.publicKey);
}

/**
 * Verifies Ed25519 without the cofactor: R must be the encoding of [S]B − [k]A,
 * byte for byte. The library's own verification multiplies by the cofactor, and
 * so accepts signatures that other verifiers reject.
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64) return false;
  const order = Point.CURVE().n;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= order) return false;
  let a;
  try {
    a = Point.fromBytes(publicKey, true);
  } catch {
    return false; // not a point on the curve
  }
  const k = littleEndian(sha512(concat(r, publicKey, message))) % order;
  return equal(Point.BASE.multiply(s, false).subtract(a.multiply(k, false)).toBytes(), r);
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${hex(bytes.slice().reverse())}`);
}
