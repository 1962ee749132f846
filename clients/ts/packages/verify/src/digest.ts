/** Expected digests, and equality of digests (receipt.md, section 4). */

/** A digest, with algorithm and value as written. */
export interface Digest {
  algorithm: string;
  value: string;
}

/**
 * The numbers of hexadecimal digits in a value of each well-known algorithm.
 */
const digits = new Map<string, readonly number[]>([
  ['md5', [32]],
  ['sha1', [40]],
  ['ripemd160', [40]],
  ['sha224', [56]],
  ['sha512_224', [56]],
  ['sha3_224', [56]],
  ['sha256', [64]],
  ['sha512_256', [64]],
  ['sha3_256', [64]],
  ['sm3', [64]],
  ['blake3', [64]],
  ['sha384', [96]],
  ['sha3_384', [96]],
  ['sha512', [128]],
  ['sha3_512', [128]],
  ['gitcommit', [40, 64]],
  ['gittree', [40, 64]],
  ['gitblob', [40, 64]],
  ['gittag', [40, 64]],
]);

/** Parses `<algorithm>:<value>`. Returns undefined if it is malformed. */
export function parseDigest(text: string): Digest | undefined {
  const colon = text.indexOf(':');
  if (colon < 0) return undefined;
  const algorithm = text.slice(0, colon);
  const value = text.slice(colon + 1);
  if (!/^[A-Za-z0-9._+/-]{1,64}$/.test(algorithm) || !/^[\x21-\x7e]{1,1024}$/.test(value)) return undefined;
  const lengths = digits.get(fold(algorithm));
  if (lengths !== undefined && !(isHex(value) && lengths.includes(value.length))) return undefined;
  return { algorithm, value };
}

/**
 * Reports whether the digest equals one of `digests`, which maps algorithms to
 * values.
 */
export function isAmong(digest: Digest, digests: Readonly<Record<string, string>>): boolean {
  const algorithm = fold(digest.algorithm);
  const value = comparable(digest.value);
  return Object.entries(digests).some(([a, v]) => fold(a) === algorithm && comparable(v) === value);
}

/** Returns a text that equal digests have in common. */
export function canonical({ algorithm, value }: Digest): string {
  return `${fold(algorithm)}:${comparable(value)}`;
}

function comparable(value: string): string {
  return isHex(value) ? fold(value) : value;
}

function isHex(value: string): boolean {
  return /^[0-9A-Fa-f]+$/.test(value);
}

/**
 * Converts ASCII letters to lower case. (toLowerCase also converts others, such
 * as U+212A to k.)
 */
function fold(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
