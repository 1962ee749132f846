/**
 * What the text and the page of a report have in common (verify.md, section 5).
 */

import { printable } from '../printable.js';
import { itemsOf, type Item, type Value } from './items.js';
import { WARNINGS } from './warnings.js';

/** The kinds of verification (verify.md, section 3). */
export const VERIFICATION_KINDS = ['receipt', 'sigstore-bundle', 'export', 'stream', 'evidence-bundle'] as const;

/** A kind of verification. */
export type VerificationKind = (typeof VERIFICATION_KINDS)[number];

type Members = Readonly<Record<string, Value>>;

/** The JSON of a report on a verified file. */
export interface VerifiedContent {
  /** The file, as the caller named it. */
  file: string;
  /** The kind of the file. */
  kind?: VerificationKind;
  /** The verdict. */
  verdict: 'verified';
  /** What follows from signatures by trusted keys, and from hashes. */
  proven: Members;
  /** What a signer or the log asserts, and nothing else supports. */
  claimed: Members;
  /** The codes of the checks that were not performed. */
  warnings: readonly string[];
}

/** The JSON of a report on a file that was refused, or could not be checked. */
export interface FailedContent {
  /** The file, as the caller named it. */
  file: string;
  /** Absent if the kind was not recognized. */
  kind?: VerificationKind;
  /** With `error`, the file may be good or bad. */
  verdict: 'not-verified' | 'error';
  /** The code of the first failing check. */
  code: string;
  /** The step of the check in the specification of the kind. 0 for errors. */
  step: number;
  /** A sentence for people, which may change between versions. */
  message: string;
}

/** The content of a report, with absent members instead of null. */
export type Content = VerifiedContent | FailedContent;

/** The verdicts, in words for people. */
export const verdictText = {
  verified: '✓ VERIFIED',
  'not-verified': '✗ NOT VERIFIED',
  error: '? ERROR',
} as const;

/** Returns the first line of the text. */
export function headline({ verdict, kind, file }: Content): string {
  return [verdictText[verdict], ...(kind === undefined ? [] : [kind]), printable(file)].join('  ');
}

/** Returns the sections of a verified report that have items. */
export function sectionsOf(content: VerifiedContent): { title: string; items: Item[] }[] {
  const warnings = content.warnings.map((code) => ({ label: code, value: WARNINGS.get(code) ?? '' }));
  return [
    { title: 'Proven', items: itemsOf(content.proven) },
    { title: 'Claimed, not proven', items: itemsOf(content.claimed) },
    { title: 'Warnings', items: warnings },
  ].filter(({ items }) => items.length > 0);
}

const anchors: Record<VerificationKind, string> = {
  receipt: 'receipts',
  'sigstore-bundle': 'sigstore-bundles',
  export: 'exports',
  stream: 'streams',
  'evidence-bundle': 'evidence-bundles',
};

/** Returns the last line of the text. */
export function boundary(kind: VerificationKind | undefined): string {
  const page = 'What this report does not prove: docs/sdk-trust-boundary.md';
  return kind === undefined ? page : `${page}#${anchors[kind]}`;
}
