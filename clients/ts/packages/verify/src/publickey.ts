/**
 * Public keys of signers, and their signatures, by WebCrypto
 * (sigstore-verification.md, section 4).
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { equal, fromBase64, hex } from './bytes.js';
import { CURVES, rawSignature, type Curve } from './ecdsa.js';
import { verifyEd25519 } from './signatures.js';

/** Reports whether a signature of a message is by a key. */
type Check = (message: Uint8Array, signature: Uint8Array) => Promise<boolean> | boolean;

/** The hashes of ECDSA, the usual one first. */
const curveHashes = {
  'P-256': ['SHA-256'],
  'P-384': ['SHA-384', 'SHA-256'],
  'P-521': ['SHA-512', 'SHA-256'],
} as const;

/** Sizes of RSA keys in bits. */
const rsaBits = [2048, 3072, 4096];

const pem = /^[ \t\r\n]*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----[ \t\r\n]*$/;

/**
 * A public key: Ed25519, ECDSA on P-256, P-384 or P-521, or RSA of 2048, 3072
 * or 4096 bits.
 */
export class PublicKey {
  private constructor(
    /** `sha256:` and the SHA-256 of the key's SubjectPublicKeyInfo. */
    readonly id: string,
    private readonly check: Check,
  ) {}

  /**
   * Parses a public key in PEM, such as cosign.pub.
   *
   * @throws Error if it is malformed or of another type; the message never
   *   quotes the key
   */
  static async parse(text: string | Uint8Array): Promise<PublicKey> {
    const characters = typeof text === 'string' ? text : Array.from(text, (byte) => String.fromCharCode(byte)).join('');
    if (characters.includes('PRIVATE KEY')) throw new Error('this is a private key, not a public key');
    const der = fromBase64((pem.exec(characters)?.[1] ?? '?').replace(/[\r\n]/g, ''));
    const check = der === undefined ? undefined : (ed25519(der) ?? (await ecdsa(der)) ?? (await rsa(der)));
    if (der === undefined || check === undefined)
      throw new Error('must be one PEM block of a public key: Ed25519, ECDSA on P-256, P-384 or P-521, or RSA');
    return new PublicKey(`sha256:${hex(sha256(der))}`, check);
  }

  /** Reports whether the key signed the message. */
  async verifies(message: Uint8Array, signature: Uint8Array): Promise<boolean> {
    return await this.check(message, signature);
  }
}

/** A SubjectPublicKeyInfo of Ed25519 (RFC 8410) without the key. */
const ed25519Prefix = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00);

function ed25519(der: Uint8Array): Check | undefined {
  if (der.length !== 44 || !equal(der.subarray(0, 12), ed25519Prefix)) return undefined;
  const key = der.subarray(12);
  return (message, signature) => verifyEd25519(key, message, signature);
}

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * Imports a SubjectPublicKeyInfo, or returns undefined if it is not one of the
 * algorithm in its usual form.
 */
async function load(der: Uint8Array, algorithm: EcKeyImportParams | RsaHashedImportParams) {
  try {
    const key = await crypto.subtle.importKey('spki', der as Bytes, algorithm, true, ['verify']);
    return equal(new Uint8Array(await crypto.subtle.exportKey('spki', key)), der) ? key : undefined;
  } catch {
    return undefined;
  }
}

async function ecdsa(der: Uint8Array): Promise<Check | undefined> {
  for (const curve of Object.keys(CURVES) as Curve[]) {
    const key = await load(der, { name: 'ECDSA', namedCurve: curve });
    if (key === undefined) continue;
    return async (message, signature) => {
      const raw = rawSignature(signature, curve);
      if (raw === undefined) return false;
      for (const hash of curveHashes[curve])
        if (await crypto.subtle.verify({ name: 'ECDSA', hash }, key, raw as Bytes, message as Bytes)) return true;
      return false;
    };
  }
  return undefined;
}

async function rsa(der: Uint8Array): Promise<Check | undefined> {
  const key = await load(der, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' });
  const bits = (key?.algorithm as RsaHashedKeyAlgorithm | undefined)?.modulusLength ?? 0;
  if (key === undefined || !rsaBits.includes(bits)) return undefined;
  return (message, signature) => crypto.subtle.verify(key.algorithm, key, signature as Bytes, message as Bytes);
}
