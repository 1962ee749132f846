/**
 * Public keys of signers, and their signatures, by WebCrypto
 * (sigstore-verification.md, section 4).
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { hex, latin1, utf8 } from './bytes.js';
import { CURVE_HASHES, rawSignature, type Curve } from './ecdsa.js';
import { FormatError } from './errors.js';
import { keyForm } from './keyform.js';
import { readPem } from './pem.js';
import { verifyEd25519 } from './signatures.js';

/** Reports whether a signature of a message is by a key. */
type Check = (message: Uint8Array, signature: Uint8Array) => Promise<boolean> | boolean;

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
    const bytes = typeof text === 'string' ? utf8(text) : text;
    if (latin1(bytes).includes('PRIVATE KEY')) throw new Error('this is a private key, not a public key');
    const { label, der } = readPem(bytes);
    const check = label === 'PUBLIC KEY' ? await checkOf(der) : undefined;
    if (check === undefined) throw new FormatError('not a public key of a supported type');
    return new PublicKey(`sha256:${hex(sha256(der))}`, check);
  }

  /** Reports whether the key signed the message. */
  async verifies(message: Uint8Array, signature: Uint8Array): Promise<boolean> {
    return await this.check(message, signature);
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

/** Returns the check of signatures by a key, or undefined if it is malformed. */
async function checkOf(der: Uint8Array): Promise<Check | undefined> {
  const type = keyForm(der);
  switch (type) {
    case undefined:
      return undefined;
    case 'Ed25519':
      return (message, signature) => verifyEd25519(der.subarray(-32), message, signature);
    case 'RSA':
      return await rsa(der);
    default:
      return await ecdsa(der, type);
  }
}

/** Imports a SubjectPublicKeyInfo, or returns undefined if it is malformed. */
async function load(der: Uint8Array, algorithm: EcKeyImportParams | RsaHashedImportParams) {
  try {
    return await crypto.subtle.importKey('spki', der as Bytes, algorithm, true, ['verify']);
  } catch {
    return undefined;
  }
}

async function ecdsa(der: Uint8Array, curve: Curve): Promise<Check | undefined> {
  const key = await load(der, { name: 'ECDSA', namedCurve: curve });
  if (key === undefined) return undefined;
  return async (message, signature) => {
    const raw = rawSignature(signature, curve);
    if (raw === undefined) return false;
    for (const hash of CURVE_HASHES[curve])
      if (await crypto.subtle.verify({ name: 'ECDSA', hash }, key, raw as Bytes, message as Bytes)) return true;
    return false;
  };
}

async function rsa(der: Uint8Array): Promise<Check | undefined> {
  const key = await load(der, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' });
  if (key === undefined) return undefined;
  return (message, signature) => crypto.subtle.verify(key.algorithm, key, signature as Bytes, message as Bytes);
}
