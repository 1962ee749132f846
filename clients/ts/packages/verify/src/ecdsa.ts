/** ECDSA signatures and their encodings. */

import { concat } from './bytes.js';

/** Maps the supported curves to the size of a coordinate in bytes. */
export const CURVES = { 'P-256': 32, 'P-384': 48, 'P-521': 66 } as const;

/** A supported curve. */
export type Curve = keyof typeof CURVES;

/** The hashes of each curve, the usual one first. */
export const CURVE_HASHES = {
  'P-256': ['SHA-256'],
  'P-384': ['SHA-384', 'SHA-256'],
  'P-521': ['SHA-512', 'SHA-256'],
} as const;

/**
 * Converts an ECDSA signature from DER to the form of WebCrypto: r and s, each
 * of the curve's size. Returns undefined if it is not DER.
 */
export function rawSignature(der: Uint8Array, curve: Curve): Uint8Array | undefined {
  const size = CURVES[curve];
  const long = der[1] === 0x81;
  const start = long ? 3 : 2;
  const length = long ? (der[2] ?? 0) : (der[1] ?? 0);
  if (der[0] !== 0x30 || der.length !== start + length || (long ? length < 0x80 : length >= 0x80)) return undefined;
  const numbers: Uint8Array[] = [];
  let at = start;
  while (at < der.length) {
    const end = at + 2 + (der[at + 1] ?? 0x80);
    const value = der.subarray(at + 2, end);
    if (der[at] !== 0x02 || (der[at + 1] ?? 0x80) >= 0x80 || end > der.length || value.length === 0) return undefined;
    const [first = 0, second = 0] = value;
    if (first >= 0x80 || (value.length > 1 && first === 0 && second < 0x80)) return undefined;
    numbers.push(first === 0 ? value.subarray(1) : value);
    at = end;
  }
  const [r, s] = numbers;
  if (r === undefined || s === undefined || numbers.length !== 2 || r.length > size || s.length > size)
    return undefined;
  return concat(new Uint8Array(size - r.length), r, new Uint8Array(size - s.length), s);
}
