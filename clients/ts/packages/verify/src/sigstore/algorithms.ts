/** Keys and signatures by WebCrypto (sigstore-verification.md, section 4). */

import { AsnConvert } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier, SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import { hex } from '../bytes.js';
import { rawSignature } from '../ecdsa.js';
import { FormatError } from '../errors.js';
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
  curve?: 'P-256' | 'P-384' | 'P-521';
  /** The DER of the SubjectPublicKeyInfo. */
  spki: Uint8Array;
  /** The key's name in Rekor v2, empty for Ed25519. */
  details: string;
  /** The usual one first; none for Ed25519. */
  hashes: Hash[];
  /** Whether signers can have it. Authorities can have RSA keys of any size. */
  supported: boolean;
}

const curves = new Map([
  ['06082a8648ce3d030107', { curve: 'P-256', details: 'PKIX_ECDSA_P256_SHA_256', hashes: ['SHA-256'] }],
  ['06052b81040022', { curve: 'P-384', details: 'PKIX_ECDSA_P384_SHA_384', hashes: ['SHA-384', 'SHA-256'] }],
  ['06052b81040023', { curve: 'P-521', details: 'PKIX_ECDSA_P521_SHA_512', hashes: ['SHA-512', 'SHA-256'] }],
] as const);

/** Gives bytes the type that WebCrypto's declarations require. */
function source(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

/** Returns the digest of data. */
export async function digest(hash: Hash, data: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest(hash, source(data)));
}

/**
 * Reads a SubjectPublicKeyInfo.
 *
 * @throws FormatError if it is not one of a supported type
 */
export async function loadKey(der: Uint8Array): Promise<PublicKey> {
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
    const { algorithm } = type;
    if (algorithm === '1.2.840.10045.2.1') return await loadEc(der);
    if (algorithm === '1.2.840.113549.1.1.1') return await loadRsa(der);
    if (algorithm !== '1.3.101.112') return undefined;
    const key = await crypto.subtle.importKey('spki', source(der), 'Ed25519', true, ['verify']);
    return { type: 'Ed25519', spki: await exported(key), details: '', hashes: [], supported: true };
  } catch {
    throw new FormatError('not a public key');
  }
}

async function loadEc(der: Uint8Array): Promise<PublicKey | undefined> {
  const { parameters } = AsnConvert.parse(source(der), SubjectPublicKeyInfo).algorithm;
  const row = curves.get(hex(new Uint8Array(parameters ?? new ArrayBuffer(0))) as '06052b81040022');
  if (row === undefined) return undefined;
  const algorithm = { name: 'ECDSA', namedCurve: row.curve };
  const key = await crypto.subtle.importKey('spki', source(der), algorithm, true, ['verify']);
  return {
    type: 'ECDSA',
    curve: row.curve,
    spki: await exported(key),
    details: row.details,
    hashes: [...row.hashes],
    supported: true,
  };
}

async function loadRsa(der: Uint8Array): Promise<PublicKey | undefined> {
  const key = await crypto.subtle.importKey('spki', source(der), rsa('SHA-256'), true, ['verify']);
  const bits = (key.algorithm as RsaHashedKeyAlgorithm).modulusLength;
  return {
    type: 'RSA',
    spki: await exported(key),
    details: `PKIX_RSA_PKCS1V15_${bits}_SHA256`,
    hashes: ['SHA-256'],
    supported: [2048, 3072, 4096].includes(bits),
  };
}

const rsa = (hash: Hash) => ({ name: 'RSASSA-PKCS1-v1_5', hash });

async function exported(key: CryptoKey): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.exportKey('spki', key));
}

/** Returns the SubjectPublicKeyInfo of a PKCS #1 RSAPublicKey. */
export function spkiOfPkcs1(raw: Uint8Array): Uint8Array {
  const algorithm = new AlgorithmIdentifier({
    algorithm: '1.2.840.113549.1.1.1',
    parameters: Uint8Array.of(0x05, 0x00).buffer,
  });
  const subjectPublicKey = Uint8Array.from(raw).buffer;
  return new Uint8Array(AsnConvert.serialize(new SubjectPublicKeyInfo({ algorithm, subjectPublicKey })));
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
    const loaded = await crypto.subtle.importKey('spki', source(key.spki), algorithm.load, false, ['verify']);
    return await crypto.subtle.verify(algorithm.verify, loaded, source(raw), source(message));
  } catch {
    return false;
  }
}

interface WebAlgorithm {
  load: { name: string; namedCurve?: string; hash?: string };
  verify: { name: string; hash?: string };
}
