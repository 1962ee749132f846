/** The result of a verification, and its report (receipt.md, section 5). */

import type { Header } from './header.js';
import { documentOf, parseObject } from './json.js';

/** A warning of the report. */
export type Warning =
  'not-witnessed' | 'content-not-checked' | 'erased' | 'signature-unverified' | 'signature-failed' | 'not-admitted';

/**
 * What a verified receipt proves, and what the log claims. Hashes are 32 bytes
 * in lowercase hexadecimal. Everything is proven, except the members that are
 * documented as claims.
 */
export interface Statement {
  /** The name of the log. */
  origin: string;
  /** The entry's index in the log, from 0. */
  index: number;
  /** The number of entries in the checkpoint's tree. */
  size: number;
  /** The root hash of the checkpoint. */
  root: string;
  /** The hash of the entry's leaf in the tree. */
  leafHash: string;
  /**
   * The tag, by which holders of the stream key recognize the tenant's entries.
   */
  tag: string;
  /** The ID of the stream. Absent in the form `shared`. */
  streamId?: string;
  /**
   * The entry's sequence number in the stream, from 0. Absent in the form
   * `shared`.
   */
  seq?: number;
  /**
   * The leaf hash of the stream's previous entry. Absent in the form `shared`.
   */
  prev?: string;
  /** The salted hash of the header. */
  headerHash: string;
  /** The SHA-256 of the header's bytes. Absent if the header is erased. */
  headerSha256?: string;
  /** The header's bytes. Absent if the header is erased. */
  headerBytes?: Uint8Array;
  /** The SHA-256 of the payload. Absent if the payload was not checked. */
  payloadSha256?: string;
  /** The SHA-256 of the external evidence. Absent if it was not checked. */
  externalSha256?: string;
  /** Whether the tag was checked with a stream key. */
  tagChecked: boolean;
  /**
   * The keys of the accepting policy that signed, as `<key name>+<key hash>`,
   * sorted.
   */
  signers: string[];
  /** The name of the accepting policy. */
  policy: string;
  /**
   * Whether the policy requires a witness. If not, the log could show others a
   * different history.
   */
  witnessed: boolean;
  /** Claimed by the log: when it recorded the entry, in Unix milliseconds. */
  time: number;
  /**
   * Claimed by the receipt: the parts that were erased. Absent if there are
   * none.
   */
  erased?: ('header' | 'payload')[];
  /** Claimed by the log, except its member `payload`. Absent if erased. */
  header?: Header;
}

/**
 * Reports whether the evidence itself was checked, and not only a reference to
 * it.
 */
export function isContentChecked(s: Statement): boolean {
  return s.externalSha256 !== undefined || (s.payloadSha256 !== undefined && s.header?.external === undefined);
}

/** Returns the warnings of the report, in the order of the specification. */
export function warningsOf(s: Statement): Warning[] {
  const warnings: [Warning, boolean][] = [
    ['not-witnessed', !s.witnessed],
    ['content-not-checked', !isContentChecked(s)],
    ['erased', s.erased !== undefined],
    ['signature-unverified', s.header?.verification.result === 'unverified'],
    ['signature-failed', s.header?.verification.result === 'failed'],
    ['not-admitted', s.header?.admission?.result === 'recorded'],
  ];
  return warnings.filter(([, applies]) => applies).map(([warning]) => warning);
}

/**
 * The report on a verified receipt, without its members `receipt` and
 * `verdict`.
 */
export interface ReceiptReport {
  /** What follows from the checkpoint and the hashes. */
  proven: Omit<Statement, 'time' | 'erased' | 'header' | 'headerBytes'>;
  /** What the log asserts, and nothing else supports. */
  claimed: Pick<Statement, 'time' | 'erased' | 'header'>;
  /**
   * Whether the evidence itself was checked, and not only a reference to it.
   */
  content: 'checked' | 'not-checked';
  /** What readers should know before they accept the receipt. */
  warnings: Warning[];
}

/**
 * Returns the report on a statement, ready for JSON.stringify. The members of
 * the header have the order of its bytes.
 */
export function reportOf(statement: Statement): ReceiptReport {
  const { time, erased, headerBytes, ...proven } = statement;
  delete proven.header;
  const header = headerBytes && documentOf<Header>(parseObject(headerBytes));
  return {
    proven,
    claimed: { time, ...(erased && { erased }), ...(header && { header }) },
    content: isContentChecked(statement) ? 'checked' : 'not-checked',
    warnings: warningsOf(statement),
  };
}
