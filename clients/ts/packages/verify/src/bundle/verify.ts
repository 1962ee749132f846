/** Verification of an evidence bundle, in the steps of bundle.md, section 5. */

import { sha256 } from '@noble/hashes/sha2.js';
import { base64, equal, hex, utf8Text } from '../bytes.js';
import { canonical } from '../digest.js';
import * as entry from '../entry.js';
import { CallerError, FormatError, NotVerifiedError } from '../errors.js';
import type { Header } from '../header.js';
import { parseInteger, quote } from '../json.js';
import { KindName } from '../kinds.js';
import { Policy } from '../policy.js';
import { includes, MAX_CHECKPOINT_BYTES, parseCheckpoint, parseProof, type Checkpoint } from '../proof.js';
import { parseReceipt } from '../receipt.js';
import { sourceOf, type Input, type Reader } from '../source.js';
import { acceptCheckpoint } from '../verify.js';
import { EvidenceError, type EvidenceCode } from './errors.js';
import { selectedDigests } from './manifest.js';
import { CHECKPOINT, payloadName, receiptName } from './members.js';
import { EvidenceBundle, LeafReader } from './open.js';
import { recordsOf, type EvidenceRecord, type OpenRecord, type PayloadState } from './records.js';
import {
  provenOf,
  StreamSummary,
  warningsOf,
  type EvidenceProven,
  type VerifiedEvidence,
  type VerifiedStream,
} from './report.js';
import { TagTable } from './tags.js';
import { checkTree } from './tree.js';

/** The optional inputs of {@link verifyEvidence}. */
export interface EvidenceOptions {
  /** The stream key, 32 bytes. Without it, completeness is not checked. */
  streamKey?: Uint8Array;
  /** The expected identity: `sha256:` and 64 lowercase hexadecimal digits. */
  identity?: string;
  /** The expected tenant. */
  tenant?: string;
  /** Interrupts the verification, which then throws the signal's reason. */
  signal?: AbortSignal;
  /** Is called with the work done and the total, in bytes. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Verifies an evidence bundle, as bundle.md, section 5, specifies, without step
 * 11. The bundle is read in parts and need not fit in memory.
 *
 * @param policies tried in order; the first one that accepts is reported
 * @throws EvidenceError if the bundle is refused or the call is wrong
 */
export async function verifyEvidence(
  bundle: Input,
  policies: readonly Policy[],
  options: EvidenceOptions = {},
): Promise<VerifiedEvidence> {
  const { time, ...proven } = await proveEvidence(bundle, policies, options);
  return { proven, claimed: { time }, warnings: warningsOf(proven, { 'reports-not-compared': true }) };
}

/**
 * Verifies the stream in an evidence bundle, which is complete: it has all
 * entries of the tenant's stream up to the size of the tree.
 *
 * @param streamKey the stream key, 32 bytes
 * @throws EvidenceError if the bundle is refused or the call is wrong
 */
export async function verifyStream(
  bundle: Input,
  policies: readonly Policy[],
  streamKey: Uint8Array,
  options: Omit<EvidenceOptions, 'streamKey' | 'identity'> = {},
): Promise<VerifiedStream> {
  const summary = new StreamSummary();
  const { time, ...proven } = await proveEvidence(bundle, policies, { ...options, streamKey }, (record) => {
    summary.add(record);
  });
  const claimed = summary.claimed(time);
  return { proven, claimed, warnings: warningsOf(proven, { 'spends-unreadable': claimed.spends === undefined }) };
}

/**
 * Performs all steps. Returns what the bundle proves, and its time.
 *
 * @param visit is called with each record, before the verdict is known
 */
export async function proveEvidence(
  input: Input,
  policies: readonly Policy[],
  options: EvidenceOptions,
  visit: (record: EvidenceRecord) => void = () => undefined,
): Promise<EvidenceProven & { time: number }> {
  checkInputs(policies, options);
  const bundle = await EvidenceBundle.open(sourceOf(input), options.signal);
  return await new Verification(bundle, policies, options, visit).run();
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';

/**
 * Malformed and unknown options are errors, so that an unset variable does not
 * disable a check.
 */
const checks: Record<keyof EvidenceOptions, (value: unknown) => boolean> = {
  streamKey: (value) => value instanceof Uint8Array && value.length === 32,
  identity: (value) => typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value),
  tenant: isText,
  signal: (value) => value instanceof AbortSignal,
  onProgress: (value) => typeof value === 'function',
};

function checkInputs(policies: readonly unknown[], options: EvidenceOptions): void {
  if (!Array.isArray(policies) || !policies.every((policy) => policy instanceof Policy))
    throw new EvidenceError('policy-malformed', 'the policies must be an array of results of parsePolicy');
  if (policies.length === 0) throw new EvidenceError('policy-missing', 'no trust policy was given');
  if (Object.hasOwn(options, 'streamKey') && !checks.streamKey(options.streamKey))
    throw new EvidenceError('stream-key-malformed', 'the stream key must be 32 bytes');
  for (const [name, value] of Object.entries(options))
    if (!Object.hasOwn(checks, name) || !checks[name as keyof EvidenceOptions](value))
      throw new EvidenceError('expectation-malformed', `option ${quote(name)}: unknown, empty or malformed`);
}

/** What later steps need of a record without reading it again. */
interface Known {
  index: number;
  payload: PayloadState;
  hasHeader: boolean;
}

class Verification {
  private done = 0;
  /** The text of the checkpoint. */
  private note = '';
  private accepted: ReturnType<typeof acceptCheckpoint> | undefined;
  private readonly records: Known[] = [];
  /**
   * The indexes whose erasure an entry records, and whether the header was
   * erased as well.
   */
  private readonly erasures = new Map<number, boolean>();
  private readonly counts = { included: 0, omitted: 0, erased: 0 };

  constructor(
    private readonly bundle: EvidenceBundle,
    private readonly policies: readonly Policy[],
    private readonly options: EvidenceOptions,
    private readonly visit: (record: EvidenceRecord) => void,
  ) {}

  async run(): Promise<EvidenceProven & { time: number }> {
    await this.checkDigests();
    await this.checkCheckpoint();
    await checkTree(this.bundle);
    await this.readRecords();
    this.checkErasures();
    await this.checkPayloads();
    await this.checkCompleteness();
    this.checkExpectations();
    const { manifest, identity } = this.bundle;
    const { accepted = { signers: [], policy: '', witnessed: false } } = this;
    const isComplete = this.options.streamKey !== undefined;
    return { ...provenOf(identity, manifest, this.counts, isComplete, accepted), time: manifest.time };
  }

  private progress(bytes: number): void {
    this.done += bytes;
    this.options.onProgress?.(this.done, 2 * this.bundle.reader().source.size);
  }

  /** Performs step 3. */
  private async checkDigests(): Promise<void> {
    const reader = this.bundle.reader();
    for (const [i, { name, offset, size }] of this.bundle.members.entries()) {
      const hash = sha256.create();
      for await (const piece of reader.pieces(offset, size)) hash.update(piece);
      if (hex(hash.digest()) !== this.bundle.manifest.members[i]?.sha256)
        throw new EvidenceError('member-digest', `${name}: it has another digest than in the manifest`);
      this.progress(size);
    }
  }

  /** Performs step 4. */
  private async checkCheckpoint(): Promise<void> {
    const { manifest } = this.bundle;
    const checkpoint = await this.readCheckpoint();
    try {
      this.accepted = acceptCheckpoint(checkpoint, this.policies);
    } catch (error) {
      if (!(error instanceof NotVerifiedError)) throw error;
      throw new EvidenceError(error.code as EvidenceCode, `${CHECKPOINT}: ${error.message}`, { cause: error });
    }
    if (
      checkpoint.origin !== manifest.origin ||
      checkpoint.size !== manifest.size ||
      !equal(checkpoint.root, manifest.root)
    )
      throw new EvidenceError('checkpoint-mismatch', `${CHECKPOINT}: its origin, size or root is not the manifest's`);
  }

  private async readCheckpoint(): Promise<Checkpoint> {
    const malformed = (problem: string) => new EvidenceError('checkpoint-malformed', `${CHECKPOINT}: ${problem}`);
    if ((this.bundle.place(CHECKPOINT)?.size ?? 0) > MAX_CHECKPOINT_BYTES)
      throw malformed(`exceeds ${MAX_CHECKPOINT_BYTES} bytes`);
    const bytes = (await this.bundle.content(CHECKPOINT)) ?? new Uint8Array();
    try {
      this.note = utf8Text(bytes);
      return parseCheckpoint(this.note);
    } catch (error) {
      if (error instanceof TypeError) throw malformed('not valid UTF-8');
      if (error instanceof FormatError) throw malformed(error.message);
      throw error;
    }
  }

  /** Performs step 6, and notes the erasures. */
  private async readRecords(): Promise<void> {
    for await (const { index, payload, header } of recordsOf(this.bundle)) {
      this.records.push({ index, payload, hasHeader: header !== undefined });
      if (header?.kind !== KindName.Erasure) continue;
      const erased = parseInteger(header.attributes?.['entry'] ?? '');
      const scope = header.attributes?.['scope'];
      if (erased === undefined || erased >= index) continue; // names no earlier entry
      if (scope === 'header-and-payload') this.erasures.set(erased, true);
      else if (scope === 'payload' && !this.erasures.has(erased)) this.erasures.set(erased, false);
    }
  }

  /** Performs step 7. */
  private checkErasures(): void {
    for (const { index, payload, hasHeader } of this.records) {
      const erasure = this.erasures.get(index);
      if ((erasure !== undefined) !== (payload === 'erased'))
        throw new EvidenceError('erasure-mismatch', `entry ${index}: its payload is ${payload}`);
      if ((erasure === true) === hasHeader)
        throw new EvidenceError(
          'erasure-mismatch',
          `entry ${index}: its header must be absent if and only if an entry records its erasure`,
        );
    }
  }

  /** Performs step 8. */
  private async checkPayloads(): Promise<void> {
    const wanted = this.wanted();
    const reader = this.bundle.reader();
    for await (const record of recordsOf(this.bundle)) {
      const { index, payload, header } = record;
      this.visit(record);
      if (payload === 'erased' || header === undefined) {
        this.counts.erased++;
      } else if (payload === 'omitted') {
        this.counts.omitted++;
        if (wanted(header, record.time))
          throw new EvidenceError('payload-omitted', `entry ${index}: the selection requires its payload`);
      } else {
        this.counts.included++;
        await this.checkPayload(record, header, reader);
      }
    }
    const used = 2 * this.counts.included;
    const have = this.bundle.manifest.members.filter(({ role }) => role === 'payload' || role === 'receipt').length;
    if (have > used) throw new EvidenceError('payload-unexpected', 'a member of evidence/ belongs to no record');
  }

  /**
   * Returns whether a bundle must contain the payload of an entry (section 4).
   */
  private wanted(): (header: Header, time: number) => boolean {
    const digests = selectedDigests(this.bundle.manifest);
    const { since = 0, selection } = this.bundle.manifest;
    return ({ kind, subjects = [], attributes = {} }, time) => {
      if (decisionKinds.has(kind)) return true;
      if (selection.incident !== undefined) {
        const { incident = '' } = attributes;
        return kind === KindName.TriageAction && (incident === selection.incident || incident === '*');
      }
      if (digests === undefined && kind !== KindName.Config && time >= since) return true;
      if (subjects.length === 0) return eventKinds.has(kind) && time >= since;
      return subjects.some(({ digest }) =>
        Object.entries(digest).some(([algorithm, value]) => digests?.has(canonical({ algorithm, value })) ?? false),
      );
    };
  }

  /** Checks the payload and the receipt of a record. */
  private async checkPayload(record: OpenRecord, header: Header, reader: Reader): Promise<void> {
    const { index, payloadSalt = new Uint8Array() } = record;
    const name = payloadName(index, header.mediaType);
    const place = this.bundle.place(name);
    if (place === undefined || this.bundle.place(receiptName(index)) === undefined)
      throw new EvidenceError('payload-missing', `entry ${index}: no members ${name} and ${receiptName(index)}`);
    const hash = entry.newCommitment(payloadSalt);
    for await (const piece of reader.pieces(place.offset, place.size)) hash.update(piece);
    if (place.size !== header.payload.size || base64(hash.digest()) !== header.payload.commitment)
      throw new EvidenceError('payload-mismatch', `${name}: not the payload of entry ${index}`);
    this.progress(place.size);
    const problem = this.receiptProblem(record, await this.bundle.content(receiptName(index), reader));
    if (problem !== undefined) throw new EvidenceError('receipt-mismatch', `${receiptName(index)}: ${problem}`);
  }

  /** Performs step 8.4. Returns what is wrong. */
  private receiptProblem(record: OpenRecord, bytes: Uint8Array | undefined): string | undefined {
    if (bytes === undefined) return 'too large';
    try {
      const { form, tag, time, link, header, payload, proof: text } = parseReceipt(bytes);
      const proof = parseProof(text);
      const { stream } = this.bundle.manifest;
      if (form !== 'detached') return `its form is ${form}`;
      const same =
        link !== undefined &&
        equal(tag, record.tag) &&
        time === record.time &&
        equal(link.salt, record.linkSalt) &&
        equal(link.streamId, stream.id) &&
        link.seq === record.seq &&
        equal(link.prev, record.prev);
      if (!same) return 'its place in the stream differs from that in the record';
      if (header?.content !== record.headerText || !equal(header?.salt ?? none, record.headerSalt ?? none))
        return 'its header differs from that in the record';
      if (!equal(payload?.salt ?? none, record.payloadSalt ?? none))
        return 'its salt of the payload differs from that in the record';
      if (proof.index !== record.index) return `its proof is for entry ${proof.index}`;
      if (proof.note !== this.note) return `its checkpoint is not the one in ${CHECKPOINT}`;
      return includes(proof, record.leafHash) ? undefined : 'its proof does not lead to the root';
    } catch (error) {
      if (error instanceof FormatError || error instanceof CallerError) return error.message;
      throw error;
    }
  }

  /** Performs step 9. */
  private async checkCompleteness(): Promise<void> {
    const { streamKey } = this.options;
    const { stream, size } = this.bundle.manifest;
    if (streamKey === undefined) return;
    if (!equal(entry.streamId(streamKey), stream.id))
      throw new EvidenceError('stream-key-mismatch', 'the stream key is that of another stream');
    const incomplete = (problem: string) => new EvidenceError('stream-incomplete', problem);
    const table = new TagTable(streamKey, size);
    for (let seq = 0; seq < size; seq++) {
      if (seq % pause === 0) await this.breathe();
      table.add(seq);
    }
    const leaves = new LeafReader(this.bundle);
    let next = 0;
    for (let index = 0; index < size; index++) {
      const seq = table.find((await leaves.at(index)).subarray(1, 33));
      if (this.records[next]?.index === index) {
        if (seq !== next) throw incomplete(`entry ${index} does not have the tag of entry ${next} of the stream`);
        next++;
      } else if (seq !== undefined) {
        throw incomplete(`entry ${index} of the log belongs to the stream, but the bundle has no record of it`);
      }
    }
  }

  /** Lets other work proceed, and ends if the caller has interrupted. */
  private async breathe(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
    this.options.signal?.throwIfAborted();
  }

  /** Performs step 10. */
  private checkExpectations(): void {
    const { identity, tenant } = this.options;
    if (identity !== undefined && identity !== this.bundle.identity)
      throw new EvidenceError('identity-mismatch', `its identity is ${this.bundle.identity}`);
    if (tenant !== undefined && tenant !== this.bundle.manifest.tenant)
      throw new EvidenceError('tenant-mismatch', `its tenant is ${quote(this.bundle.manifest.tenant)}`);
  }
}

const none = new Uint8Array();
/** The number of tags between pauses. */
const pause = 1 << 14;

/** The kinds that matter to every decision. */
const decisionKinds = new Set<string>([
  KindName.Control,
  KindName.ControlSet,
  KindName.ExceptionDecision,
  KindName.ExceptionRequest,
  KindName.Finding,
  KindName.KeyEvent,
]);
/** The kinds of events that need not be about an artifact. */
const eventKinds = new Set<string>([
  KindName.BackfillCheckpoint,
  KindName.Inventory,
  KindName.MetricSnapshot,
  KindName.TriageAction,
  KindName.VerificationReport,
]);
