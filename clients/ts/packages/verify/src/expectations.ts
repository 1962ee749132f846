/** The caller's inputs and expectations (receipt.md, section 4, step 10). */

import { sha256 } from '@noble/hashes/sha2.js';
import { equal, fromHex, hex } from './bytes.js';
import { isAmong, parseDigest } from './digest.js';
import * as entry from './entry.js';
import { NotVerifiedError, OptionError, type Code } from './errors.js';
import type { Header } from './header.js';
import { quote } from './json.js';
import type { Receipt } from './receipt.js';

/**
 * The optional inputs of {@link verify}. Gates and scripts should always set
 * `tenant`, `kind` and `subject`: without them, any genuine receipt of the log
 * verifies. A member that is undefined or an empty string is an OptionError, so
 * that an unset variable does not disable a check.
 */
export interface Options {
  /**
   * The payload of a receipt that does not contain it. An iterable is read
   * once.
   */
  payload?: entry.ByteSource;
  /**
   * Do not require the payload. Receipts of erased payloads verify only with
   * this option.
   */
  headerOnly?: boolean;
  /**
   * The evidence to which an entry by reference refers. An iterable is read
   * once.
   */
  external?: entry.ByteSource;
  /** The entry must belong to this tenant. */
  tenant?: string;
  /** The entry must be of this kind. */
  kind?: string;
  /**
   * The entry must be about this artifact: `algorithm:value`, such as
   * `sha256:2cf24dba…`.
   */
  subject?: string;
  /** The entry must have this in-toto predicate type. */
  predicateType?: string;
  /** The entry must be about this control. */
  control?: string;
  /** The log must have verified the signatures of the evidence. */
  requireVerified?: boolean;
  /** A verified signer must have this identity or key ID. */
  signer?: string;
  /** The same verified signer's identity must come from this OIDC issuer. */
  issuer?: string;
  /** An admission policy must have admitted the entry. */
  admitted?: boolean;
  /**
   * The entry must belong to the stream with this ID, 64 hexadecimal digits.
   */
  stream?: string;
  /**
   * The entry must belong to the stream of this key (32 bytes), and have the
   * right tag.
   */
  streamKey?: Uint8Array;
}

const isBoolean = (value: unknown): boolean => typeof value === 'boolean';
const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const isByteSource = (value: unknown): boolean =>
  value instanceof Uint8Array || (typeof value === 'object' && value !== null && Symbol.iterator in value);

/**
 * The checks of {@link Options}, which also serve callers without a type
 * checker.
 */
const checks: Record<keyof Options, (value: unknown) => boolean> = {
  payload: isByteSource,
  headerOnly: isBoolean,
  external: isByteSource,
  tenant: isText,
  kind: isText,
  subject: (value) => typeof value === 'string' && parseDigest(value) !== undefined,
  predicateType: isText,
  control: isText,
  requireVerified: isBoolean,
  signer: isText,
  issuer: isText,
  admitted: isBoolean,
  stream: (value) => typeof value === 'string' && /^[0-9A-Fa-f]{64}$/.test(value),
  streamKey: (value) => value instanceof Uint8Array && value.length === 32,
};

/**
 * Throws OptionError if an option is malformed or unknown. The stream key is
 * checked first.
 */
export function checkOptions(options: Options): void {
  if (Object.hasOwn(options, 'streamKey') && !checks.streamKey(options.streamKey))
    throw new OptionError('streamKey', 'must be 32 bytes', 'stream-key-malformed');
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(checks, name)) throw new OptionError(name, 'unknown option');
    if (!checks[name as keyof Options](value))
      throw new OptionError(name, 'empty or malformed: omit it to accept any value');
  }
}

/**
 * Throws NotVerifiedError if an expectation is not met. Returns the SHA-256 of
 * `external`, if given.
 */
export function checkExpectations(
  receipt: Receipt,
  header: Header | undefined,
  options: Options,
): Uint8Array | undefined {
  if (header !== undefined) checkHeader(header, options);
  else if (concernsHeader(options))
    throw new NotVerifiedError('header-erased', 'the header is erased, so expectations cannot be checked');
  checkStream(receipt, options);
  return options.external === undefined || header === undefined ? undefined : checkExternal(header, options.external);
}

function concernsHeader(o: Options): boolean {
  const texts = [o.tenant, o.kind, o.subject, o.predicateType, o.control, o.signer, o.issuer];
  return (
    o.requireVerified === true ||
    o.admitted === true ||
    [...texts, o.external].some((expected) => expected !== undefined)
  );
}

function expect(met: boolean, code: Code, message: string): void {
  if (!met) throw new NotVerifiedError(code, message);
}

function checkHeader(header: Header, o: Options): void {
  if (o.tenant !== undefined)
    expect(header.tenant === o.tenant, 'tenant-mismatch', `the entry belongs to the tenant ${header.tenant}`);
  if (o.kind !== undefined) expect(header.kind === o.kind, 'kind-mismatch', `the entry is of kind ${header.kind}`);
  const subject = o.subject === undefined ? undefined : parseDigest(o.subject);
  if (subject !== undefined)
    expect(
      (header.subjects ?? []).some((artifact) => isAmong(subject, artifact.digest)),
      'subject-mismatch',
      "the expected subject is not among the entry's subjects",
    );
  if (o.predicateType !== undefined)
    expect(
      header.predicateType === o.predicateType,
      'predicate-type-mismatch',
      header.predicateType === undefined
        ? 'the entry has no predicate type'
        : `the entry has the predicate type ${quote(header.predicateType)}`,
    );
  if (o.control !== undefined)
    expect(
      (header.controls ?? []).includes(o.control),
      'control-mismatch',
      "the expected control is not among the entry's controls",
    );
  const who = o.signer !== undefined || o.issuer !== undefined;
  const { result } = header.verification;
  if (o.requireVerified === true || who)
    expect(
      result === 'verified',
      'signature-unverified',
      `the log did not verify the signatures: its result is ${result}`,
    );
  if (who)
    expect(
      (header.signers ?? []).some(
        (s) =>
          (o.signer === undefined || o.signer === s.identity || o.signer === s.keyId) &&
          (o.issuer === undefined || o.issuer === s.issuer),
      ),
      'signer-mismatch',
      'no signer has the expected identity, key or issuer',
    );
  if (o.admitted === true)
    expect(header.admission?.result === 'admitted', 'not-admitted', 'no admission policy admitted the entry');
}

function checkStream({ link, tag }: Receipt, { stream, streamKey }: Options): void {
  if (stream === undefined && streamKey === undefined) return;
  if (link === undefined)
    throw new NotVerifiedError('link-hidden', 'a shared receipt hides the stream, so it cannot be checked');
  const other = `the entry belongs to the stream ${hex(link.streamId)}`;
  if (stream !== undefined)
    expect(equal(fromHex(stream.toLowerCase()) ?? new Uint8Array(), link.streamId), 'stream-mismatch', other);
  if (streamKey !== undefined) {
    expect(equal(entry.streamId(streamKey), link.streamId), 'stream-mismatch', other);
    expect(
      equal(entry.tag(streamKey, link.seq), tag),
      'tag-mismatch',
      `the tag is not the one of entry ${link.seq} of the stream`,
    );
  }
}

function checkExternal({ external }: Header, evidence: entry.ByteSource): Uint8Array {
  if (external === undefined)
    throw new NotVerifiedError(
      'external-unexpected',
      "the entry's payload is the evidence itself, not a reference to it",
    );
  const hash = sha256.create();
  let size = 0;
  for (const piece of entry.pieces(evidence)) {
    hash.update(piece);
    size += piece.length;
  }
  const digest = hash.digest();
  expect(
    size === external.size,
    'external-mismatch',
    `the evidence has ${size} bytes; the header records ${external.size}`,
  );
  expect(
    isAmong({ algorithm: 'sha256', value: hex(digest) }, external.digest),
    'external-mismatch',
    `the header does not record the evidence's digest sha256:${hex(digest)}`,
  );
  return digest;
}
