/** Keys for policies in tests. */

import { sha256 } from '@noble/hashes/sha2.js';
import { base64, concat, hex, utf8 } from '../src/bytes.js';

/**
 * Returns a signed-note key whose public key is `length` bytes of the value
 * `fill`.
 */
export function vkey(name: string, algorithm: number, fill: number, length = algorithm === 0x06 ? 1312 : 32): string {
  return encodeKey(name, algorithm, new Uint8Array(length).fill(fill));
}

/** Returns a signed-note key with the right hash. */
export function encodeKey(name: string, algorithm: number, publicKey: Uint8Array): string {
  const bytes = concat(Uint8Array.of(algorithm), publicKey);
  return `${name}+${hex(sha256(concat(utf8(`${name}\n`), bytes)).subarray(0, 4))}+${base64(bytes)}`;
}
