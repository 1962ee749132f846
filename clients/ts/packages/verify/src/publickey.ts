/** Public keys of signers, and their signatures, by WebCrypto. */

import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { concat, equal, fromBase64, hex, utf8 } from './bytes.js';
import { CURVES, rawSignature, type Curve } from './ecdsa.js';
import { verifyEd25519 } from './signatures.js';

/** Reports whether a signature of a message is by a key. */
type Check = (message: Uint8Array, signature: Uint8Array) => Promise<boolean> | boolean;

/** Sizes of RSA keys in bits. Smaller keys are weak, larger ones slow. */
const rsaBits = { least: 2048, most: 8192 } as const;

/** A public key: Ed25519, ECDSA on P-256, P-384 or P-521, or RSA. */
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
  static async parse(pem: string | Uint8Array): Promise<PublicKey> {
    const text = typeof pem === 'string' ? pem : Array.from(pem, (byte) => String.fromCharCode(byte)).join('');
    if (/PRIVATE KEY/.test(text)) throw new Error('this is a private key, not a public key');
    const block =
      /^\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*$/.exec(text)?.[1] ?? '?';
    const der = fromBase64(block.replace(/[\r\n]/g, ''));
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

const hashes = ['SHA-256', 'SHA-384', 'SHA-512'] as const;

/** A SubjectPublicKeyInfo of Ed25519 (RFC 8410) without the key. */
const ed25519Prefix = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00);
/** The prefix of Ed25519ph without a context (RFC 8032, section 2). */
const prehashed = concat(utf8('SigEd25519 no Ed25519 collisions'), Uint8Array.of(1, 0));

function ed25519(der: Uint8Array): Check | undefined {
  if (der.length !== 44 || !equal(der.subarray(0, 12), ed25519Prefix)) return undefined;
  const key = der.subarray(12);
  return (message, signature) =>
    verifyEd25519(key, message, signature) || verifyEd25519(key, sha512(message), signature, prehashed);
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
      const forms = [rawSignature(signature, curve), signature.length === 2 * CURVES[curve] ? signature : undefined];
      for (const form of forms)
        for (const hash of form === undefined ? [] : hashes)
          if (await crypto.subtle.verify({ name: 'ECDSA', hash }, key, form as Bytes, message as Bytes)) return true;
      return false;
    };
  }
  return undefined;
}

async function rsa(der: Uint8Array): Promise<Check | undefined> {
  const algorithm = (hash: string) => ({ name: 'RSASSA-PKCS1-v1_5', hash });
  const first = await load(der, algorithm(hashes[0]));
  const bits = (first?.algorithm as RsaHashedKeyAlgorithm | undefined)?.modulusLength ?? 0;
  if (bits < rsaBits.least || bits > rsaBits.most) return undefined;
  return async (message, signature) => {
    for (const hash of hashes) {
      const key = await load(der, algorithm(hash));
      if (key !== undefined && (await crypto.subtle.verify(key.algorithm, key, signature as Bytes, message as Bytes)))
        return true;
    }
    return false;
  };
}
