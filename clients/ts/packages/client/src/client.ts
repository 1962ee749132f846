/** The client of a ledger. */

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, type Client as Rpc } from '@connectrpc/connect';
import {
  evidenceOf,
  KindName,
  NotVerifiedError,
  parseHeader,
  parseReceipt,
  verify,
  type InputFile,
  type Policy,
  type Report,
} from '@muniment/verify';
import { newCommitment } from '@muniment/verify/commitment';
import { checkServer, Credentials, tenantOfToken } from './credentials.js';
import { GateService, type DecideRequestSchema, type DecideResponse } from './gen/muniment/v1/gate_pb.js';
import { IdentityService, type WhoAmIResponse } from './gen/muniment/v1/identity_pb.js';
import {
  AppendStreamRequestSchema,
  AppendWait,
  LedgerService,
  Order,
  ReceiptForm,
  type Appended,
  type AppendStreamRequest,
  type Entry,
  type FilterSchema,
} from './gen/muniment/v1/ledger_pb.js';
import type { Identity } from './identity.js';
import { Backoff, pause, retry, type RetryOptions } from './retry.js';
import { session, transportTo, type Fetch } from './transport.js';

/** How to reach a ledger, and what to trust. */
export interface ClientOptions {
  /** The server's URL: a scheme, a host and a port, and no path. */
  server: string;
  /** A token of the tenant, sent as a bearer token. */
  token?: string;
  /**
   * A source of identity tokens, such as {@link jobIdentity}. The client
   * exchanges them for tokens of the ledger, and again when these expire.
   */
  identity?: Identity;
  /** The tenant. Default: the one named in the token. */
  tenant?: string;
  /**
   * Trust policies. With them, each receipt is verified before it is returned.
   * Without them, the client only checks that a receipt commits to the payload
   * that was sent.
   */
  policies?: readonly Policy[];
  /**
   * The stream key, 32 bytes. With it and policies, the tag of each entry is
   * checked as well.
   */
  streamKey?: Uint8Array;
  /**
   * Wait until the log's witnesses have cosigned a checkpoint that covers the
   * entries. Default: if a policy requires witnesses.
   */
  witnessed?: boolean;
  /** How calls are repeated. Every call can be repeated safely. */
  retry?: RetryOptions;
  /** Sends the requests. Default: the global fetch. */
  fetch?: Fetch;
}

/** What interrupts a call. */
export interface CallOptions {
  /** Interrupts the call. Use `AbortSignal.timeout` for a deadline. */
  signal?: AbortSignal;
}

/** A piece of evidence, or an event. See docs/spec/kinds.md. */
export interface Submission {
  /** A kind, such as `KindName.Attestation` of `@muniment/verify`. */
  kind: string;
  /** Default: detected by the server. */
  mediaType?: string;
  /** Stored byte for byte. A string is encoded in UTF-8. */
  payload: Uint8Array | string;
  /**
   * Identifies an event, so that a retry does not record it twice. Required for
   * events, and not allowed for evidence, which is recognized by its content.
   */
  idempotencyKey?: string;
}

/** A submission that can be larger than a message, or than memory. */
export interface StreamSubmission extends Omit<Submission, 'payload'> {
  /**
   * The payload, or a function that returns it from its start. It is read again
   * for each attempt, and to check the receipt.
   */
  payload: Blob | (() => AsyncIterable<Uint8Array> | Iterable<Uint8Array>);
  /** The size in bytes, if known. */
  size?: number;
  /** Is called with the number of bytes sent, which begins anew with each attempt. */
  onProgress?: (sent: number) => void;
}

/** A recorded submission. */
export interface Recorded {
  /** The index in the log. */
  index: bigint;
  /** It was recorded before. Index and receipt are those of the first entry. */
  duplicate: boolean;
  /** A receipt without the payload, as JSON. Keep it beside the payload. */
  receipt: Uint8Array;
}

/** The result for one submission of a batch: an entry, or an error. */
export type BatchResult =
  | ({
      /** Absent: the submission is recorded. */
      error?: undefined;
    } & Recorded)
  | {
      /** Why the submission is not recorded. */
      error: Error;
    };

/** Selects entries that match all members. */
export type Filter = MessageInitShape<typeof FilterSchema>;

/** An entry, and the index from which to resume. */
export interface Watched {
  /** The entry, without its payload. */
  entry: Entry;
  /** The index after the entry. */
  nextIndex: bigint;
}

/** The largest chunk of a payload in a message, in bytes. */
const chunkSize = 1 << 20;

const encoder = new TextEncoder();

/** A client of one ledger as one tenant. */
export class Client {
  /** Every call about entries, as the API has it. Errors are ConnectErrors. */
  readonly ledger: Rpc<typeof LedgerService>;
  /** Every call about gates, as the API has it. */
  readonly gates: Rpc<typeof GateService>;
  /** The calls about identities, as the API has them. */
  readonly identities: Rpc<typeof IdentityService>;
  /** The tenant. */
  readonly tenant: string;

  private readonly uploads: Rpc<typeof LedgerService>;
  private readonly wait: AppendWait;

  /** @throws TypeError if an option is wrong */
  constructor(private readonly options: ClientOptions) {
    const server = checkServer(options.server);
    const { token = '', identity } = options;
    this.tenant = options.tenant ?? tenantOfToken(token);
    if (this.tenant === '') throw new TypeError('tenant: specify one: the token does not name it');
    const send = session(options.fetch ?? ((...request) => fetch(...request)));
    const anonymous = createClient(IdentityService, transportTo(server, send, [], false));
    const exchange =
      identity &&
      (async () => {
        const identityToken = await identity();
        return await retry(options.retry, undefined, () =>
          anonymous.exchangeToken({ tenant: this.tenant, identityToken }),
        );
      });
    const { interceptor } = new Credentials(identity ? '' : token, exchange);
    const transport = transportTo(server, send, [interceptor], false);
    this.ledger = createClient(LedgerService, transport);
    this.gates = createClient(GateService, transport);
    this.identities = createClient(IdentityService, transport);
    this.uploads = createClient(LedgerService, transportTo(server, send, [interceptor], true));
    const witnessed = options.witnessed ?? options.policies?.some(({ asksForWitness }) => asksForWitness) ?? false;
    this.wait = witnessed ? AppendWait.WITNESSED : AppendWait.PUBLISHED;
  }

  private retried<T>({ signal }: CallOptions, call: () => Promise<T>): Promise<T> {
    return retry(this.options.retry, signal, call);
  }

  /** Returns the identity and the permissions of the caller. */
  async whoAmI(call: CallOptions = {}): Promise<WhoAmIResponse> {
    return await this.retried(call, () => this.identities.whoAmI({}, call));
  }

  /**
   * Records one submission, and checks its receipt.
   *
   * @throws ConnectError if it was not recorded
   * @throws NotVerifiedError if the receipt is wrong
   */
  async append(submission: Submission, call: CallOptions = {}): Promise<Recorded> {
    const { tenant, wait } = this;
    const message = messageOf(submission);
    const { appended } = await this.retried(call, () =>
      this.ledger.append({ tenant, submission: message, wait }, call),
    );
    return this.check(submission.kind, message.payload, appended);
  }

  /**
   * Records up to 1,000 submissions. Returns a result for each, in their order.
   *
   * @throws ConnectError if the call as a whole failed
   */
  async appendBatch(submissions: readonly Submission[], call: CallOptions = {}): Promise<BatchResult[]> {
    const { tenant, wait } = this;
    const messages = submissions.map(messageOf);
    const { results } = await this.retried(call, () =>
      this.ledger.appendBatch({ tenant, submissions: messages, wait }, call),
    );
    if (results.length !== messages.length)
      throw new ConnectError(`the server returned ${results.length} results for ${messages.length} submissions`);
    return results.map(({ result }, i) => {
      const { kind = '', payload = new Uint8Array() } = messages[i] ?? {};
      try {
        if (result.case === 'appended') return this.check(kind, payload, result.value);
        if (result.case !== 'error') throw new ConnectError('the server returned no result');
        return { error: new ConnectError(result.value.message, codeOf(result.value.code)) };
      } catch (error) {
        return { error: error as Error };
      }
    });
  }

  /** Records one submission, sent in chunks, and checks its receipt. */
  async appendStream(submission: StreamSubmission, call: CallOptions = {}): Promise<Recorded> {
    const { appended } = await this.retried(call, () => this.uploads.appendStream(this.partsOf(submission), call));
    const recorded = recordedOf(appended);
    const receipt = parseReceipt(recorded.receipt);
    if (this.options.policies !== undefined) this.verify(submission.kind, recorded.receipt, undefined);
    if (receipt.header === undefined || receipt.payload === undefined) return recorded; // erased in the meantime
    const hash = newCommitment(receipt.payload.salt);
    for await (const piece of piecesOf(submission.payload)) hash.update(piece);
    compareCommitment(receipt.header.content, hash.digest());
    return recorded;
  }

  private async *partsOf(submission: StreamSubmission): AsyncGenerator<AppendStreamRequest> {
    const { kind, mediaType = '', idempotencyKey = '', payload, onProgress } = submission;
    const size = submission.size ?? (payload instanceof Blob ? payload.size : undefined);
    const header = {
      tenant: this.tenant,
      kind,
      mediaType,
      idempotencyKey,
      wait: this.wait,
      ...(size !== undefined && { size: BigInt(size) }),
    };
    const part = (value: MessageInitShape<typeof AppendStreamRequestSchema>['part'] & object) =>
      create(AppendStreamRequestSchema, { part: value });
    yield part({ case: 'header', value: header });
    let sent = 0;
    for await (const piece of piecesOf(payload))
      for (let at = 0; at < piece.length; at += chunkSize) {
        const chunk = piece.slice(at, at + chunkSize);
        yield part({ case: 'chunk', value: chunk });
        sent += chunk.length;
        onProgress?.(sent);
      }
  }

  /** Returns one entry. */
  async get(index: bigint | number, call: CallOptions = {}): Promise<Entry> {
    const { tenant } = this;
    const { entry } = await this.retried(call, () => this.ledger.getEntry({ tenant, index: BigInt(index) }, call));
    if (entry === undefined) throw new ConnectError('the server returned no entry');
    return entry;
  }

  /**
   * Yields the payload of an entry in chunks. After a lost connection, the call
   * is repeated, and what was yielded before is skipped.
   */
  async *payload(index: bigint | number, call: CallOptions = {}): AsyncGenerator<Uint8Array> {
    const { tenant } = this;
    const backoff = new Backoff(this.options.retry);
    for (let yielded = 0; ;) {
      let at = 0;
      try {
        for await (const { chunk } of this.ledger.getPayload({ tenant, index: BigInt(index) }, call)) {
          const rest = chunk.subarray(Math.max(0, yielded - at));
          at += chunk.length;
          if (rest.length === 0) continue;
          yielded += rest.length;
          backoff.reset();
          yield rest;
        }
        return;
      } catch (error) {
        await this.resume(backoff, error, call);
      }
    }
  }

  /** Returns a receipt for an entry, as JSON. */
  async receipt(
    index: bigint | number,
    {
      shared = false,
      includePayload = false,
      witnessed = false,
      treeSize = 0,
      ...call
    }: CallOptions & {
      shared?: boolean;
      includePayload?: boolean;
      witnessed?: boolean;
      treeSize?: bigint | number;
    } = {},
  ): Promise<Uint8Array> {
    const form = shared ? ReceiptForm.SHARED : ReceiptForm.UNSPECIFIED;
    const request = { tenant: this.tenant, index: BigInt(index), form, includePayload, witnessed };
    const { receipt } = await this.retried(call, () =>
      this.ledger.getReceipt({ ...request, treeSize: BigInt(treeSize) }, call),
    );
    return receipt;
  }

  /** Yields the entries that match, page by page, newest first. */
  async *list(
    filter: Filter = {},
    { oldestFirst = false, pageSize = 0, ...call }: CallOptions & { oldestFirst?: boolean; pageSize?: number } = {},
  ): AsyncGenerator<Entry> {
    const order = oldestFirst ? Order.OLDEST_FIRST : Order.NEWEST_FIRST;
    let pageToken = '';
    do {
      const request = { tenant: this.tenant, filter, order, pageSize, pageToken };
      const page = await this.retried(call, () => this.ledger.listEntries(request, call));
      yield* page.entries;
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
  }

  /**
   * Yields entries as they are published, until the signal ends the call. After
   * a lost connection it resumes, without a gap and without repetitions.
   *
   * @param from the first index, such as the last `nextIndex` of an earlier call
   */
  async *watch(from: bigint | number = 0, filter: Filter = {}, call: CallOptions = {}): AsyncGenerator<Watched> {
    const { tenant } = this;
    const backoff = new Backoff(this.options.retry);
    for (let fromIndex = BigInt(from); ;) {
      try {
        for await (const { entry, nextIndex } of this.ledger.watchEntries({ tenant, fromIndex, filter }, call)) {
          fromIndex = nextIndex;
          backoff.reset();
          if (entry !== undefined) yield { entry, nextIndex };
        }
        throw new ConnectError('the server ended the stream', Code.Unavailable);
      } catch (error) {
        if (call.signal?.aborted === true) return;
        await this.resume(backoff, error, call);
      }
    }
  }

  private async resume(backoff: Backoff, error: unknown, { signal }: CallOptions): Promise<void> {
    const delay = backoff.delay(error);
    if (delay === undefined) throw error;
    await pause(delay, signal);
  }

  /**
   * Decides whether artifacts may pass a stage, and records the decisions. See
   * docs/spec/decision.md.
   */
  async gate(
    request: Omit<MessageInitShape<typeof DecideRequestSchema>, '$typeName' | 'tenant'>,
    call: CallOptions = {},
  ): Promise<DecideResponse> {
    return await this.retried(call, () => this.gates.decide({ ...request, tenant: this.tenant }, call));
  }

  /**
   * Records a report of `@muniment/verify`. The role must be allowed to append
   * verification reports. Nothing else records a report.
   *
   * @param at the time of the verification, which also identifies the event
   */
  async appendReport(report: Report, file: InputFile, at = new Date(), call: CallOptions = {}): Promise<Recorded> {
    const evidence = await evidenceOf(report, file, at);
    const payload = encoder.encode(JSON.stringify(evidence));
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', payload));
    const idempotencyKey = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return await this.append({ kind: KindName.VerificationReport, payload, idempotencyKey }, call);
  }

  /** Checks a receipt on arrival, when the payload is still there. */
  private check(kind: string, payload: Uint8Array, appended: Appended | undefined): Recorded {
    const recorded = recordedOf(appended);
    if (this.options.policies !== undefined) {
      this.verify(kind, recorded.receipt, payload);
      return recorded;
    }
    const receipt = parseReceipt(recorded.receipt);
    if (receipt.header === undefined || receipt.payload === undefined) return recorded; // erased in the meantime
    compareCommitment(receipt.header.content, newCommitment(receipt.payload.salt).update(payload).digest());
    return recorded;
  }

  private verify(kind: string, receipt: Uint8Array, payload: Uint8Array | undefined): void {
    const { policies = [], streamKey } = this.options;
    verify(receipt, policies, {
      tenant: this.tenant,
      kind,
      ...(payload === undefined ? { headerOnly: true } : { payload }),
      ...(streamKey && { streamKey }),
    });
  }
}

function messageOf({ kind, mediaType = '', payload, idempotencyKey = '' }: Submission) {
  return { kind, mediaType, payload: typeof payload === 'string' ? encoder.encode(payload) : payload, idempotencyKey };
}

function recordedOf(appended: Appended | undefined): Recorded {
  if (appended === undefined) throw new ConnectError('the server returned no entry');
  const { index, duplicate, receipt } = appended;
  return { index, duplicate, receipt };
}

/** Compares a payload with the one that a header commits to. */
function compareCommitment(header: string, commitment: Uint8Array): void {
  const recorded = parseHeader(encoder.encode(header)).payload.commitment;
  if (recorded !== btoa(String.fromCharCode(...commitment)))
    throw new NotVerifiedError('payload-mismatch', 'the receipt is for a different payload from the one sent');
}

async function* piecesOf(payload: StreamSubmission['payload']): AsyncGenerator<Uint8Array> {
  if (!(payload instanceof Blob)) {
    yield* payload();
    return;
  }
  for (let at = 0; at < payload.size; at += chunkSize)
    yield new Uint8Array(await payload.slice(at, at + chunkSize).arrayBuffer());
}

/** Returns the code with the name that the API uses in messages. */
function codeOf(name: string): Code {
  const pascal = name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return (Code as unknown as Partial<Record<string, Code>>)[pascal] ?? Code.Unknown;
}
