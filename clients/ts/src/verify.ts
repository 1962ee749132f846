/** The offline verification of a receipt (receipt.md, section 4). Bytes in, statement out; no network, no clock. */

import { sha256 } from '@noble/hashes/sha2.js';
import { base64, equal, fromHex, hex, utf8 } from './bytes.js';
import * as entry from './entry.js';
import { FormatError, MunimentError, NotVerifiedError, OptionError } from './errors.js';
import { parseHeader, type Header } from './header.js';
import { Policy } from './policy.js';
import { includes, type Checkpoint } from './proof.js';
import { parseReceipt, type Receipt } from './receipt.js';

/**
 * What to verify beside the receipt itself. Gates and scripts should always give the tenant, the kind and a subject:
 * without them any genuine receipt of the log will do. A member that is there with the value undefined is an
 * OptionError, so that a variable that was forgotten does not switch a check off.
 */
export interface Options {
  /** The payload, for a receipt that does not hold it. Pieces are read once. */
  payload?: entry.ByteSource;
  /** Verify without the payload if it is not there. Receipts of erased payloads need this. */
  headerOnly?: boolean;
  /** The evidence that the entry refers to, for an entry made by reference. Pieces are read once. */
  external?: entry.ByteSource;
  /** The entry must be of this tenant. */
  tenant?: string;
  /** The entry must be of this kind. */
  kind?: string;
  /** The entry must be about this artifact: `algorithm:value`, such as `sha256:2cf24dba…`. */
  subject?: string;
  /** The entry must be of the stream with this ID: 64 lowercase hexadecimal digits. */
  stream?: string;
  /** The entry must be of the stream of this key (32 bytes), and filed under the right tag. */
  streamKey?: Uint8Array;
}

/** What was proven. Hashes are lowercase hexadecimal, of 32 bytes. */
export interface Statement {
  /** Name of the log. */
  origin: string;
  /** The entry's place in the log, from 0. */
  index: number;
  /** Entries in the tree that the checkpoint speaks of. */
  size: number;
  root: string;
  leafHash: string;
  tag: string;
  /** Milliseconds since 1970: when the log says that it recorded the entry. */
  time: number;
  /** With `seq` and `prev`: absent where the receipt hides them (form `shared`). */
  streamId?: string;
  /** The entry's place in its stream, from 0. */
  seq?: number;
  prev?: string;
  headerHash: string;
  /** SHA-256 of the header's bytes. With `header` and `headerBytes`: absent where the header is erased. */
  headerSha256?: string;
  /** What the log says of the entry. Only its `payload` is proven; the rest was recorded, and need not be true. */
  header?: Header;
  headerBytes?: Uint8Array;
  /** SHA-256 of the payload; absent if the payload was not checked. */
  payloadSha256?: string;
  /** Keys of the accepting policy whose signatures verified, as `<key name>+<key hash>`, sorted. */
  signers: string[];
  /** Name of the policy that accepted. */
  policy: string;
  /** False: that policy asks for no witness, so the log could show others another history. */
  witnessed: boolean;
  /** Whether a stream key showed that the tag is the right one for the entry's place in its stream. */
  tagChecked: boolean;
  /** Whether evidence that is kept elsewhere was found to be what the entry refers to. */
  externalChecked: boolean;
}

/**
 * Verifies a receipt.
 *
 * @param receipt the receipt's bytes
 * @param policies of which one must accept: the first that does, in this order, counts
 * @throws NotVerifiedError if the receipt does not verify; `step` says which step of receipt.md, section 4, failed
 * @throws OptionError if the options are wrong, which is no verdict
 */
export function verify(receipt: Uint8Array, policies: readonly Policy[], options: Options = {}): Statement {
  checkOptions(policies, options);
  const parsed = step(1, '', () => parseReceipt(receipt));
  const payload = readPayload(parsed, options);
  const header = readHeader(parsed, payload);
  const link = readLink(parsed);

  const hashOfEntry = entry.entryHash(link, parsed.time, header.hash);
  const leafHash = entry.leafHash(entry.leafData(parsed.tag, hashOfEntry));
  const { checkpoint } = parsed.proof;
  const accepted = acceptCheckpoint(checkpoint, policies);

  if (!includes(parsed.proof, leafHash))
    throw new NotVerifiedError(
      8,
      `inclusion proof: it does not lead from entry ${parsed.proof.index} to the root of the tree of ${checkpoint.size} entries: ` +
        'what the receipt says is not what the log recorded',
    );
  if (header.parsed !== undefined && header.parsed.origin !== checkpoint.origin)
    throw new NotVerifiedError(
      9,
      `header: origin ${JSON.stringify(header.parsed.origin)} is not that of the checkpoint`,
    );
  const { tagChecked, externalChecked } = checkExpectations(parsed, header.parsed, options);

  return {
    origin: checkpoint.origin,
    index: parsed.proof.index,
    size: checkpoint.size,
    root: hex(checkpoint.root),
    leafHash: hex(leafHash),
    tag: hex(parsed.tag),
    time: parsed.time,
    ...(parsed.link && {
      streamId: hex(parsed.link.streamId),
      seq: parsed.link.seq,
      prev: hex(parsed.link.prev),
    }),
    headerHash: hex(header.hash),
    ...(header.parsed && {
      headerSha256: hex(sha256(header.bytes)),
      header: header.parsed,
      headerBytes: header.bytes,
    }),
    ...(payload && { payloadSha256: hex(payload.sha256) }),
    ...accepted,
    tagChecked,
    externalChecked,
  };
}

/** The types of {@link Options}, for callers without a type checker. */
const optionTypes: Record<keyof Options, (value: unknown) => boolean> = {
  payload: isByteSource,
  headerOnly: (value) => typeof value === 'boolean',
  external: isByteSource,
  tenant: (value) => typeof value === 'string',
  kind: (value) => typeof value === 'string',
  subject: (value) => typeof value === 'string',
  stream: (value) => typeof value === 'string',
  streamKey: (value) => value instanceof Uint8Array && value.length === 32,
};

function isByteSource(value: unknown): boolean {
  return value instanceof Uint8Array || (typeof value === 'object' && value !== null && Symbol.iterator in value);
}

function checkOptions(policies: readonly unknown[], options: Options): void {
  if (!Array.isArray(policies) || !policies.every((policy) => policy instanceof Policy))
    throw new OptionError('policies', 'an array of what parsePolicy returns is needed');
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(optionTypes, name)) throw new OptionError(name, 'there is no such option');
    if (!optionTypes[name as keyof Options](value))
      throw new OptionError(name, 'not of the right type or length; leave it out if it is not meant');
  }
}

/** Runs a step that fails with an error of its own. */
function step<T>(number: 1 | 4 | 7, what: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof MunimentError)) throw error;
    throw new NotVerifiedError(number, what + error.message, { cause: error });
  }
}

/** What of a payload is compared with the header. */
interface PayloadFacts {
  /** C′. */
  commitment: Uint8Array;
  size: number;
  sha256: Uint8Array;
}

/** Steps 2 and 3. Undefined: there is no payload, and the caller does not ask for one. */
function readPayload(receipt: Receipt, options: Options): PayloadFacts | undefined {
  const { payload } = receipt;
  const given = options.payload;
  if (payload === undefined) {
    if (given !== undefined) throw new NotVerifiedError(2, `payload: it is erased, and one was given`);
    if (options.headerOnly !== true)
      throw new NotVerifiedError(2, 'payload: the log has erased it; ask for the header only to check the rest');
    return undefined;
  }
  if (given === undefined && payload.content === undefined) {
    if (options.headerOnly !== true)
      throw new NotVerifiedError(2, 'payload: it is not in the receipt; give it, or ask for the header only');
    return undefined;
  }
  const plain = sha256.create();
  let size = 0;
  const counted = function* (source: entry.ByteSource): Iterable<Uint8Array> {
    for (const piece of entry.pieces(source)) {
      const embedded = payload.content?.subarray(size, size + piece.length);
      if (embedded !== undefined && !equal(embedded, piece)) throw differs();
      plain.update(piece);
      size += piece.length;
      yield piece;
    }
  };
  const commitment = entry.commitment(payload.salt, counted(given ?? payload.content ?? new Uint8Array()));
  if (payload.content !== undefined && payload.content.length !== size) throw differs();
  return { commitment, size, sha256: plain.digest() };
}

function differs(): NotVerifiedError {
  return new NotVerifiedError(2, 'payload: the one in the receipt is not the one given');
}

/** Largest header, in bytes (entry.md, section 2). */
const maxHeader = 1_048_576;

/** Step 4. */
function readHeader(
  receipt: Receipt,
  payload: PayloadFacts | undefined,
): { hash: Uint8Array; bytes: Uint8Array; parsed?: Header } {
  if (receipt.header === undefined) return { hash: receipt.headerHash ?? new Uint8Array(), bytes: new Uint8Array() };
  const { salt, content } = receipt.header;
  const { bytes, parsed } = step(4, 'header: ', () => {
    const bytes = content.length > maxHeader ? undefined : utf8(content);
    if (bytes === undefined || bytes.length > maxHeader) throw new FormatError(`more than ${maxHeader} bytes`);
    return { bytes, parsed: parseHeader(bytes) };
  });
  if (payload !== undefined) {
    if (parsed.payload.size !== payload.size)
      throw new NotVerifiedError(
        4,
        `payload: it has ${payload.size} bytes, and the header says ${parsed.payload.size}`,
      );
    if (parsed.payload.commitment !== base64(payload.commitment))
      throw new NotVerifiedError(4, 'payload: it is not the one that the header commits to');
  }
  return { hash: entry.headerHash(salt, bytes), bytes, parsed };
}

/** Step 5: L. */
function readLink(receipt: Receipt): Uint8Array {
  const { link } = receipt;
  if (link === undefined) return receipt.linkHash ?? new Uint8Array();
  if ((link.seq === 0) !== link.prev.every((byte) => byte === 0))
    throw new NotVerifiedError(5, 'link: prev must be zero if and only if seq is');
  return entry.linkHash(link);
}

/** Step 7. */
function acceptCheckpoint(
  checkpoint: Checkpoint,
  policies: readonly Policy[],
): Pick<Statement, 'signers' | 'policy' | 'witnessed'> {
  const refusals: string[] = [];
  for (const policy of policies) {
    try {
      return { signers: policy.accept(checkpoint), policy: policy.name, witnessed: policy.asksForWitness };
    } catch (error) {
      if (!(error instanceof MunimentError)) throw error;
      refusals.push(`policy ${policy.name}: ${error.message}`);
    }
  }
  throw new NotVerifiedError(7, `checkpoint: ${refusals.join('; ') || 'no policy was given'}`);
}

/** Step 10. */
function checkExpectations(
  receipt: Receipt,
  header: Header | undefined,
  options: Options,
): Pick<Statement, 'tagChecked' | 'externalChecked'> {
  const { link } = receipt;
  const expect = (what: keyof Options, met: boolean | undefined, found: string | undefined): void => {
    if (met === true) return;
    throw new NotVerifiedError(10, found === undefined ? `${what}: the receipt does not say` : `${what}: ${found}`);
  };
  if (options.tenant !== undefined)
    expect('tenant', header && options.tenant === header.tenant, header && `the entry is of ${header.tenant}`);
  if (options.kind !== undefined)
    expect('kind', header && options.kind === header.kind, header && `the entry is of the kind ${header.kind}`);
  if (options.subject !== undefined)
    expect('subject', header && isAbout(header, options.subject), header && 'the entry is not about it');
  if (options.stream !== undefined)
    expect(
      'stream',
      link && equal(fromHex(options.stream) ?? new Uint8Array(), link.streamId),
      link && `the entry is of ${hex(link.streamId)}`,
    );
  const key = options.streamKey;
  if (key !== undefined) {
    expect('streamKey', link && equal(entry.streamId(key), link.streamId), link && 'the entry is of another stream');
    expect('streamKey', link && equal(entry.tag(key, link.seq), receipt.tag), 'the entry has the wrong tag');
  }
  if (options.external !== undefined) checkExternal(header, options.external);
  return { tagChecked: key !== undefined, externalChecked: options.external !== undefined };
}

function isAbout(header: Header, subject: string): boolean {
  const colon = subject.indexOf(':');
  if (colon < 0) return false;
  const value = subject.slice(colon + 1);
  return value !== '' && (header.subjects ?? []).some((artifact) => artifact.digest[subject.slice(0, colon)] === value);
}

function checkExternal(header: Header | undefined, evidence: entry.ByteSource): void {
  const wrong = (problem: string) => new NotVerifiedError(10, `external: ${problem}`);
  if (header === undefined) throw wrong('the receipt does not say');
  const { external } = header;
  if (external === undefined) throw wrong('the entry refers to no evidence elsewhere; its payload is the evidence');
  const hash = sha256.create();
  let size = 0;
  for (const piece of entry.pieces(evidence)) {
    hash.update(piece);
    size += piece.length;
  }
  const digest = hex(hash.digest());
  const expected = external.digest['sha256'];
  if (size !== external.size || digest !== expected)
    throw wrong(
      `it has ${size} bytes and sha256:${digest}; the entry refers to ${external.size} bytes with sha256:${expected ?? '(none)'}`,
    );
}
