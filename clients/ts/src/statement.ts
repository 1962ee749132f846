/** What a verified receipt proves and claims, and its report (receipt.md, section 5). */

import type { Header } from './header.js';

/** A warning of the report. */
export type Warning =
  'not-witnessed' | 'content-not-checked' | 'erased' | 'signature-unverified' | 'signature-failed' | 'not-admitted';

/** What was proven, and what is claimed. Hashes are lowercase hexadecimal, of 32 bytes. */
export interface Statement {
  /** Name of the log. */
  origin: string;
  /** The entry's place in the log, from 0. */
  index: number;
  /** Entries in the tree of the checkpoint. */
  size: number;
  root: string;
  leafHash: string;
  tag: string;
  /** With `seq` and `prev`: absent where the receipt hides them (form `shared`). */
  streamId?: string;
  /** The entry's place in its stream, from 0. */
  seq?: number;
  prev?: string;
  headerHash: string;
  /** SHA-256 of the header's bytes. With `header` and `headerBytes`: absent where the header is erased. */
  headerSha256?: string;
  headerBytes?: Uint8Array;
  /** SHA-256 of the payload; absent if the payload was not checked. */
  payloadSha256?: string;
  /** SHA-256 of the evidence kept elsewhere; absent if that was not given. */
  externalSha256?: string;
  /** Whether a stream key showed that the tag is the right one for the entry's place in its stream. */
  tagChecked: boolean;
  /** Keys of the accepting policy whose signatures verified, as `<key name>+<key hash>`, sorted. */
  signers: string[];
  /** Name of the policy that accepted. */
  policy: string;
  /** False: that policy requires no witness, so the log could show others another history. */
  witnessed: boolean;
  /** Claimed: milliseconds since 1970, when the log recorded the entry. */
  time: number;
  /** Claimed: what the receipt declares to be erased. Absent if it declares nothing. */
  erased?: ('header' | 'payload')[];
  /** Claimed: what the log recorded of the entry. Only its `payload` is proven. */
  header?: Header;
}

/** Reports whether the bytes of the evidence itself were checked. */
export function isContentChecked(s: Statement): boolean {
  return s.externalSha256 !== undefined || (s.payloadSha256 !== undefined && s.header?.external === undefined);
}

/** The warnings about a statement, in the order of the specification. */
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

/** The members of the report on a verified receipt, beside `receipt` and `verdict`. */
export interface Report {
  proven: Omit<Statement, 'time' | 'erased' | 'header' | 'headerBytes'>;
  claimed: Pick<Statement, 'time' | 'erased' | 'header'>;
  content: 'checked' | 'not-checked';
  warnings: Warning[];
}

/** The report on a statement, for JSON. */
export function reportOf(statement: Statement): Report {
  const { time, erased, header, ...proven } = statement;
  delete proven.headerBytes;
  return {
    proven,
    claimed: { time, ...(erased && { erased }), ...(header && { header }) },
    content: isContentChecked(statement) ? 'checked' : 'not-checked',
    warnings: warningsOf(statement),
  };
}
