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

/** The content of a report, with absent members instead of null. */
export type Content = { file: string; kind?: VerificationKind } & (
  | { verdict: 'verified'; proven: Members; claimed: Members; warnings: readonly string[] }
  | { verdict: 'not-verified' | 'error'; code: string; step: number; message: string }
);

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
export function sectionsOf(content: Content & { verdict: 'verified' }): { title: string; items: Item[] }[] {
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
