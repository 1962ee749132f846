/** Keys and signatures by WebCrypto (sigstore-verification.md, section 4). */

import { AsnConvert } from '@peculiar/asn1-schema';
import { SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import { hex } from '../bytes.js';
import { CURVE_HASHES, rawSignature, type Curve } from '../ecdsa.js';
import { FormatError } from '../errors.js';
import { keyForm } from '../keyform.js';
import { isDer } from './der.js';

/** A hash, by WebCrypto's name. */
export type Hash = 'SHA-256' | 'SHA-384' | 'SHA-512';

/** Maps Sigstore's names of hashes. */
export const sigstoreHashes = new Map<string, Hash>([
  ['SHA2_256', 'SHA-256'],
  ['SHA2_384', 'SHA-384'],
  ['SHA2_512', 'SHA-512'],
]);

/** A public key of a supported type. */
export interface PublicKey {
  type: 'ECDSA' | 'RSA' | 'Ed25519';
  /** The curve of an ECDSA key. */
  curve?: Curve;
  /** The DER of the SubjectPublicKeyInfo. */
  spki: Uint8Array;
  /** The key's name in Rekor v2, empty for Ed25519. */
  details: string;
  /** The usual one first; none for Ed25519. */
  hashes: Hash[];
  /** Whether signers can have it. Authorities can have RSA keys of any size. */
  supported: boolean;
}

/** Maps the DER of parameters to curves. */
const curves = new Map<string, Curve>([
  ['06082a8648ce3d030107', 'P-256'],
  ['06052b81040022', 'P-384'],
  ['06052b81040023', 'P-521'],
]);

/** Gives bytes the type that WebCrypto's declarations require. */
function source(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

/** Returns the digest of data. */
export async function digest(hash: Hash, data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest(hash, source(data)));
}

/**
 * Reads a SubjectPublicKeyInfo, which has the usual encoding.
 *
 * @throws FormatError if it is not one of a supported type
 */
export async function loadKey(der: Uint8Array): Promise<PublicKey> {
  if (keyForm(der) === undefined) throw new FormatError('a key of another type, or with an unusual encoding');
  const key = await loadAnyKey(der);
  if (key?.supported !== true) throw new FormatError("the key's type is not supported");
  return key;
}

/**
 * Reads a SubjectPublicKeyInfo. Returns undefined if its type is not supported.
 *
 * @throws FormatError if it is malformed
 */
export async function loadAnyKey(der: Uint8Array): Promise<PublicKey | undefined> {
  try {
    if (!isDer(der)) throw new FormatError('not DER');
    const { algorithm: type, subjectPublicKey } = AsnConvert.parse(source(der), SubjectPublicKeyInfo);
    // The parsers ignore that a key is not one of whole bytes.
    if (der.at(-1 - subjectPublicKey.byteLength) !== 0) throw new FormatError('unused bits');
    const { algorithm, parameters } = type;
    if (algorithm === '1.2.840.10045.2.1')
      return await loadEc(der, curves.get(hex(new Uint8Array(parameters ?? new ArrayBuffer(0)))));
    if (algorithm === '1.2.840.113549.1.1.1') return await loadRsa(der);
    if (algorithm !== '1.3.101.112') return undefined;
    await imported(der, { name: 'Ed25519' });
    return { type: 'Ed25519', spki: der, details: '', hashes: [], supported: true };
  } catch {
    throw new FormatError('not a public key');
  }
}

async function loadEc(spki: Uint8Array, curve?: Curve): Promise<PublicKey | undefined> {
  if (curve === undefined) return undefined;
  await imported(spki, { name: 'ECDSA', namedCurve: curve });
  const hashes = [...CURVE_HASHES[curve]];
  const details = `PKIX_ECDSA_${curve}_${hashes[0]}`.replace('P-', 'P').replace('-', '_');
  return { type: 'ECDSA', curve, spki, details, hashes, supported: true };
}

async function loadRsa(spki: Uint8Array): Promise<PublicKey | undefined> {
  const key = await imported(spki, rsa('SHA-256'));
  const bits = (key.algorithm as RsaHashedKeyAlgorithm).modulusLength;
  const details = `PKIX_RSA_PKCS1V15_${bits}_SHA256`;
  return { type: 'RSA', spki, details, hashes: ['SHA-256'], supported: [2048, 3072, 4096].includes(bits) };
}

const rsa = (hash: Hash) => ({ name: 'RSASSA-PKCS1-v1_5', hash });

async function imported(spki: Uint8Array, algorithm: WebAlgorithm['load']): Promise<CryptoKey> {
  return await crypto.subtle.importKey('spki', source(spki), algorithm, false, ['verify']);
}

/**
 * Reports whether the key made the signature.
 *
 * @param hash undefined for Ed25519
 */
export async function signedBy(
  key: PublicKey,
  hash: Hash | undefined,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if ((hash === undefined) !== (key.type === 'Ed25519')) return false;
  let algorithm: WebAlgorithm;
  let raw: Uint8Array | undefined = signature;
  if (key.type === 'Ed25519' || hash === undefined) {
    algorithm = { load: { name: 'Ed25519' }, verify: { name: 'Ed25519' } };
  } else if (key.type === 'RSA') {
    algorithm = { load: rsa(hash), verify: { name: 'RSASSA-PKCS1-v1_5' } };
  } else {
    const namedCurve = key.curve ?? 'P-256';
    algorithm = { load: { name: 'ECDSA', namedCurve }, verify: { name: 'ECDSA', hash } };
    raw = rawSignature(signature, namedCurve);
  }
  if (raw === undefined) return false;
  try {
    const loaded = await imported(key.spki, algorithm.load);
    return await crypto.subtle.verify(algorithm.verify, loaded, source(raw), source(message));
  } catch {
    return false;
  }
}

interface WebAlgorithm {
  load: { name: string; namedCurve?: string; hash?: string };
  verify: { name: string; hash?: string };
}
