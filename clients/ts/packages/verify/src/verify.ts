/**
 * Offline verification of a receipt (receipt.md, section 4). It uses no network
 * and no clock.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { base64, equal, hex, utf8 } from './bytes.js';
import * as entry from './entry.js';
import { CallerError, FormatError, NotVerifiedError, OptionError, type Code } from './errors.js';
import { checkExpectations, checkOptions, type Options } from './expectations.js';
import { MAX_HEADER_BYTES, parseHeader, type Header } from './header.js';
import { quote } from './json.js';
import { Policy } from './policy.js';
import { includes, parseProof, type Checkpoint, type Proof } from './proof.js';
import { parseReceipt, type Receipt } from './receipt.js';
import type { Statement } from './statement.js';

/**
 * Verifies a receipt. Returns what it proves, and what the log claims.
 *
 * @param receipt the receipt's bytes, at most 256 MiB
 * @param policies tried in order; the first one that accepts is reported
 * @throws NotVerifiedError if the receipt is refused; `code` and `step` give
 *   the reason
 * @throws CallerError if the call is wrong, so there is no verdict
 */
export function verify(receipt: Uint8Array, policies: readonly Policy[], options: Options = {}): Statement {
  checkPolicies(policies);
  checkOptions(options);
  const { parsed, proof } = parse(receipt);
  const payload = readPayload(parsed, options);
  const header = readHeader(parsed, payload);
  const link = readLink(parsed, proof);

  const { checkpoint } = proof;
  const hashOfEntry = entry.entryHash(entry.originHash(checkpoint.origin), link, parsed.time, header.hash);
  const leafHash = entry.leafHash(entry.leafData(parsed.tag, hashOfEntry));
  const accepted = acceptCheckpoint(checkpoint, policies);
  if (!includes(proof, leafHash))
    throw new NotVerifiedError(
      'inclusion',
      `the proof does not lead from entry ${proof.index} to the root of the tree of size ${checkpoint.size}`,
    );
  if (header.parsed !== undefined && header.parsed.origin !== checkpoint.origin)
    throw new NotVerifiedError(
      'origin-mismatch',
      `the header names the origin ${quote(header.parsed.origin)}, the checkpoint ${quote(checkpoint.origin)}`,
    );
  const external = checkExpectations(parsed, header.parsed, options);

  return {
    origin: checkpoint.origin,
    index: proof.index,
    size: checkpoint.size,
    root: hex(checkpoint.root),
    leafHash: hex(leafHash),
    tag: hex(parsed.tag),
    ...(parsed.link && {
      streamId: hex(parsed.link.streamId),
      seq: parsed.link.seq,
      prev: hex(parsed.link.prev),
    }),
    headerHash: hex(header.hash),
    ...(header.parsed && { headerSha256: hex(sha256(header.bytes)), headerBytes: header.bytes }),
    ...(payload && { payloadSha256: hex(payload.sha256) }),
    ...(external && { externalSha256: hex(external) }),
    tagChecked: options.streamKey !== undefined,
    ...accepted,
    time: parsed.time,
    ...(parsed.form === 'payload-erased' && { erased: ['payload'] }),
    ...(parsed.form === 'header-erased' && { erased: ['header', 'payload'] }),
    ...(header.parsed && { header: header.parsed }),
  };
}

function checkPolicies(policies: readonly unknown[]): void {
  if (!Array.isArray(policies) || !policies.every((policy) => policy instanceof Policy))
    throw new OptionError('policies', 'must be an array of results of parsePolicy', 'policy-malformed');
  if (policies.length === 0) throw new CallerError('policy-missing', 'no policy specified');
}

/** Runs a step, and turns FormatError into NotVerifiedError. */
function refuseMalformed<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new NotVerifiedError(error.code, error.message, { cause: error });
  }
}

/** Performs step 1. */
function parse(receipt: Uint8Array): { parsed: Receipt; proof: Proof } {
  return refuseMalformed(() => {
    const parsed = parseReceipt(receipt);
    return { parsed, proof: parseProof(parsed.proof) };
  });
}

/** The facts about a payload that verification needs. */
interface PayloadFacts {
  /** C′, 32 bytes. */
  commitment: Uint8Array;
  /** In bytes. */
  size: number;
  sha256: Uint8Array;
}

/**
 * Performs steps 2 and 3. Returns undefined if there is no payload to check.
 */
function readPayload(receipt: Receipt, options: Options): PayloadFacts | undefined {
  const { payload } = receipt;
  const given = options.payload;
  if (payload === undefined) {
    if (given !== undefined)
      throw new NotVerifiedError('payload-unexpected', `a ${receipt.form} receipt takes no payload`);
    if (options.headerOnly !== true)
      throw new NotVerifiedError('payload-erased', `a ${receipt.form} receipt verifies only with headerOnly`);
    return undefined;
  }
  const source = given ?? payload.content;
  if (source === undefined) {
    if (options.headerOnly !== true)
      throw new NotVerifiedError('payload-missing', 'the receipt does not contain the payload, and none was given');
    return undefined;
  }
  const plain = sha256.create();
  let size = 0;
  const counted = function* (): Iterable<Uint8Array> {
    for (const piece of entry.pieces(source)) {
      const embedded = payload.content?.subarray(size, size + piece.length);
      if (embedded !== undefined && !equal(embedded, piece)) throw differs();
      plain.update(piece);
      size += piece.length;
      yield piece;
    }
  };
  const commitment = entry.commitment(payload.salt, counted());
  if (payload.content !== undefined && payload.content.length !== size) throw differs();
  return { commitment, size, sha256: plain.digest() };
}

function differs(): NotVerifiedError {
  return new NotVerifiedError('payload-differs', 'the payload differs from the one in the receipt');
}

/** Performs step 4. */
function readHeader(
  receipt: Receipt,
  payload: PayloadFacts | undefined,
): { hash: Uint8Array; bytes: Uint8Array; parsed?: Header } {
  if (receipt.header === undefined) return { hash: receipt.headerHash ?? new Uint8Array(), bytes: new Uint8Array() };
  const { salt, content } = receipt.header;
  // UTF-8 has at least one byte per UTF-16 unit, so the rest of an overlong
  // text need not be encoded.
  const bytes = utf8(content.length > MAX_HEADER_BYTES ? content.slice(0, MAX_HEADER_BYTES + 1) : content);
  const parsed = refuseMalformed(() => parseHeader(bytes));
  if (payload !== undefined) {
    const mismatch = (problem: string) => new NotVerifiedError('payload-mismatch', `the payload ${problem}`);
    if (parsed.payload.size !== payload.size)
      throw mismatch(`has ${payload.size} bytes; the header records ${parsed.payload.size}`);
    if (parsed.payload.commitment !== base64(payload.commitment)) throw mismatch('is not the recorded one');
  }
  return { hash: entry.headerHash(salt, bytes), bytes, parsed };
}

/** Performs step 5. Returns L. */
function readLink({ link, linkHash }: Receipt, proof: Proof): Uint8Array {
  if (link === undefined) return linkHash ?? new Uint8Array();
  if ((link.seq === 0) !== link.prev.every((byte) => byte === 0))
    throw new NotVerifiedError('link-prev', 'prev must be 32 zero bytes if and only if seq is 0');
  if (link.seq > proof.index)
    throw new NotVerifiedError('link-seq', `sequence number ${link.seq} exceeds the index ${proof.index}`);
  return entry.linkHash(link);
}

const policyCodes: readonly Code[] = [
  'checkpoint-origin',
  'checkpoint-signature',
  'checkpoint-unsigned',
  'checkpoint-quorum',
];

/**
 * Performs step 7. If all policies refuse, the reason is that of the policy
 * that got furthest.
 */
export function acceptCheckpoint(
  checkpoint: Checkpoint,
  policies: readonly Policy[],
): Pick<Statement, 'signers' | 'policy' | 'witnessed'> {
  const refusals: NotVerifiedError[] = [];
  for (const policy of policies) {
    try {
      return { signers: policy.accept(checkpoint), policy: policy.name, witnessed: policy.asksForWitness };
    } catch (error) {
      if (!(error instanceof NotVerifiedError)) throw error;
      refusals.push(error);
    }
  }
  const order = (refusal: NotVerifiedError) => policyCodes.indexOf(refusal.code);
  const furthest = refusals.sort((a, b) => order(b) - order(a))[0];
  throw furthest === undefined
    ? new CallerError('policy-missing', 'no policy specified')
    : new NotVerifiedError(furthest.code, `no policy accepts the checkpoint: ${furthest.message}`);
}
