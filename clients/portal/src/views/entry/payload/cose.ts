/**
 * SCITT signed statements: COSE_Sign1 messages (RFC 9052) with CWT claims (RFC
 * 9597).
 */

import type { Builder } from './document';
import { MalformedError } from './json';

/** A value of CBOR (RFC 8949). Tags are dropped. */
type Cbor = number | bigint | string | boolean | null | Uint8Array | Cbor[] | Map<Cbor, Cbor>;

const maxDepth = 16;
const maxValues = 10_000;

/** Reads CBOR of definite lengths, which is the only CBOR that the log accepts. */
class CborReader {
  #at = 0;
  #values = 0;
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth = 0): Cbor {
    if (depth > maxDepth || ++this.#values > maxValues) throw this.#wrong('too many values');
    const first = this.#take(1)[0] ?? 0;
    const major = first >> 5;
    const length = this.#argument(first & 31);
    switch (major) {
      case 0:
        return length;
      case 1:
        return typeof length === 'bigint' ? -1n - length : -1 - length;
      case 2:
        return this.#take(Number(length));
      case 3:
        return new TextDecoder().decode(this.#take(Number(length)));
      case 4:
        return Array.from({ length: this.#count(length) }, () => this.value(depth + 1));
      case 5: {
        const map = new Map<Cbor, Cbor>();
        for (let i = this.#count(length); i > 0; i--) map.set(this.value(depth + 1), this.value(depth + 1));
        return map;
      }
      case 6:
        return this.value(depth + 1);
      default:
        return first === 0xf4 ? false : first === 0xf5 ? true : null;
    }
  }

  #count(length: number | bigint): number {
    if (Number(length) > maxValues) throw this.#wrong('too many values');
    return Number(length);
  }

  #argument(info: number): number | bigint {
    if (info < 24) return info;
    const at = this.#at;
    const size = { 24: 1, 25: 2, 26: 4, 27: 8 }[info];
    if (size === undefined) throw this.#wrong('indefinite length');
    this.#take(size);
    if (size === 1) return this.#view.getUint8(at);
    if (size === 2) return this.#view.getUint16(at);
    if (size === 4) return this.#view.getUint32(at);
    const large = this.#view.getBigUint64(at);
    return large <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(large) : large;
  }

  #take(length: number): Uint8Array {
    if (!(this.#at + length <= this.bytes.length)) throw this.#wrong('the document ends too early');
    const taken = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return taken;
  }

  #wrong(problem: string): MalformedError {
    return new MalformedError(this.#at, problem);
  }
}

const algorithms = new Map<Cbor, string>([
  [-7, 'ES256'],
  [-35, 'ES384'],
  [-8, 'EdDSA'],
  [-37, 'PS256'],
  [-16, 'SHA-256'],
  [-43, 'SHA-384'],
  [-44, 'SHA-512'],
]);

/** Reads a signed statement. Returns its payload. */
export function cose(bytes: Uint8Array, to: Builder): Uint8Array | undefined {
  const message = new CborReader(bytes).value();
  const [wrapped, , payload, signature] = Array.isArray(message) ? message : [];
  if (!(wrapped instanceof Uint8Array)) throw new MalformedError(0, 'not a COSE_Sign1 message');
  const header = wrapped.length === 0 ? new Map<Cbor, Cbor>() : new CborReader(wrapped).value();
  if (!(header instanceof Map)) throw new MalformedError(0, 'the protected header is not a map');
  const claims = header.get(15);
  to.content.format = 'COSE signed statement';
  if (claims instanceof Map) {
    to.claim('Issuer', textOf(claims.get(1)), 'mono');
    to.claim('Subject', textOf(claims.get(2)), 'mono');
  }
  to.claim('Content type', textOf(header.get(3)), 'mono');
  to.claim('Algorithm', algorithms.get(header.get(1) ?? null) ?? textOf(header.get(1)));
  to.claim('Key ID', textOf(header.get(4)), 'mono');
  const chain = header.get(33);
  to.claim('Certificates', chain === undefined ? undefined : String(Array.isArray(chain) ? chain.length : 1));
  const hashed = header.get(258);
  if (hashed !== undefined) {
    to.claim('Hash of the content', algorithms.get(hashed) ?? textOf(hashed));
    to.claim('Digest of the content', textOf(payload), 'digest');
    to.claim('Type of the content', textOf(header.get(259)), 'mono');
  }
  to.claim('Signature', signature instanceof Uint8Array ? `${signature.length} bytes` : undefined);
  if (!(payload instanceof Uint8Array)) {
    to.remark('The statement has no payload.');
    return undefined;
  }
  to.claim('Payload', `${payload.length} bytes`);
  return hashed === undefined ? payload : undefined;
}

function textOf(value: Cbor | undefined): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (value instanceof Uint8Array)
    return Array.from(value.subarray(0, 128), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return typeof value === 'object' ? undefined : String(value);
}
