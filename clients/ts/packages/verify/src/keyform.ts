/**
 * The encoding of public keys (sigstore-verification.md, section 4). Libraries
 * differ in what else they read. They check that points are on their curve.
 */

import { Point } from '@noble/ed25519';
import { concat, equal, fromHex } from './bytes.js';

/** The type of a key, by WebCrypto's name. */
export type KeyType = 'Ed25519' | 'P-256' | 'P-384' | 'P-521' | 'RSA';

const fixed = (digits: string): Uint8Array => fromHex(digits) ?? new Uint8Array();

/** What precedes the key itself, and the size of the rest in bytes. */
const forms: [KeyType, Uint8Array, number][] = [
  ['Ed25519', fixed('302a300506032b6570032100'), 32],
  ['P-256', fixed('3059301306072a8648ce3d020106082a8648ce3d03010703420004'), 64],
  ['P-384', fixed('3076301006072a8648ce3d020106052b8104002203620004'), 96],
  ['P-521', fixed('30819b301006072a8648ce3d020106052b810400230381860004'), 132],
];

/**
 * Returns the type of a SubjectPublicKeyInfo, or undefined unless it has the
 * bytes that section 4 specifies.
 */
export function keyForm(der: Uint8Array): KeyType | undefined {
  for (const [type, prefix, size] of forms)
    if (der.length === prefix.length + size && equal(der.subarray(0, prefix.length), prefix))
      return type !== 'Ed25519' || isUsualPoint(der.subarray(prefix.length)) ? type : undefined;
  return isUsualRsa(der) ? 'RSA' : undefined;
}

/**
 * Reports whether y is reduced, and the point is not of small order. Such a key
 * has signatures of any message. A key that is not on the curve has none.
 */
function isUsualPoint(key: Uint8Array): boolean {
  const [first = 0] = key;
  if (first >= 0xed && ((key[31] ?? 0) & 0x7f) === 0x7f && key.subarray(1, 31).every((byte) => byte === 0xff))
    return false;
  try {
    return !Point.fromBytes(key, true).isSmallOrder();
  } catch {
    return true;
  }
}

const rsaAlgorithm = fixed('300d06092a864886f70d0101010500');
const rsaStart = 33; // of the modulus
const rsaSizes = [256, 384, 512];

function isUsualRsa(der: Uint8Array): boolean {
  for (const size of rsaSizes) {
    const end = rsaStart + size;
    if (der.length < end + 3 || der.length > end + 2 + 4) continue;
    const modulus = der.subarray(rsaStart, end);
    const exponent = der.subarray(end + 2);
    const odd = ((modulus.at(-1) ?? 0) & 1) === 1;
    return equal(der, rsaInfo(modulus, exponent)) && (modulus[0] ?? 0) >= 0x80 && odd && isUsualExponent(exponent);
  }
  return false;
}

/** Reports whether it is an odd number from 3 to 2³¹ − 1 in its shortest form. */
function isUsualExponent(exponent: Uint8Array): boolean {
  const [first = 0, second = 0] = exponent;
  const value = exponent.reduce((sum, byte) => sum * 256 + byte, 0);
  const shortest = exponent.length === 1 || first !== 0 || second >= 0x80;
  return first < 0x80 && shortest && value >= 3 && value % 2 === 1;
}

/** Returns the SubjectPublicKeyInfo of a key whose modulus has its highest bit set. */
function rsaInfo(modulus: Uint8Array, exponent: Uint8Array): Uint8Array {
  const number = Uint8Array.of(0x02, exponent.length);
  return infoOfPkcs1(long(0x30, long(0x02, Uint8Array.of(0), modulus), number, exponent));
}

/** Returns the SubjectPublicKeyInfo of an RSAPublicKey of PKCS #1. */
export function infoOfPkcs1(raw: Uint8Array): Uint8Array {
  return long(0x30, rsaAlgorithm, long(0x03, Uint8Array.of(0), raw));
}

/** Returns DER with a length of two bytes. A longer content is of no key. */
function long(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const content = concat(...parts);
  return concat(Uint8Array.of(tag, 0x82, (content.length >> 8) & 0xff, content.length & 0xff), content);
}
