/** A report as evidence (verify.md, section 7). */

import { sha256 } from '@noble/hashes/sha2.js';
import { hex, utf8 } from '../bytes.js';
import { sourceOf, PIECE } from '../source.js';
import { contentOf, type InputFile } from '../verification/inputs.js';
import { VERSION } from '../version.js';
import type { Report } from './report.js';

/** The payload of an entry that records a report. */
export interface ReportEvidence {
  /** The verdict of the report. */
  verdict: Report['verdict'];
  /** The code of the report, or `verified`. */
  reasonCode: string;
  /** The version of this package. */
  version: string;
  /** `muniment-typescript`. */
  verifier: string;
  /** In UTC, to the second. */
  verifiedAt: string;
  /** The index of the verified entry, in decimal. */
  index?: string;
  /** The verified file. Absent if it cannot be read. */
  subjects?: {
    /** The name of the file, without its folder. */
    name: string;
    /** The digest of the file. */
    digest: {
      /** In lowercase hexadecimal. */
      sha256: string;
    };
  }[];
  /** The warnings, or the message of the failed check: at most 2,048 bytes. */
  detail: string;
}

const maxDetail = 2048; // bytes

/**
 * Returns a report as the payload of an entry of the kind
 * `KindName.VerificationReport`. Nothing is recorded until you append it.
 *
 * @param file the file that was verified, of which the payload has the digest
 * @param at the current time
 */
export async function evidenceOf(report: Report, file: InputFile, at = new Date()): Promise<ReportEvidence> {
  const index = indexOf(report);
  const digest = await digestOf(file);
  const name = report.file.split(/[/\\]/).at(-1) ?? '';
  return {
    verdict: report.verdict,
    reasonCode: report.verdict === 'verified' ? 'verified' : report.code,
    version: VERSION,
    verifier: 'muniment-typescript',
    verifiedAt: at.toISOString().replace(/\.\d+Z$/, 'Z'),
    ...(index !== undefined && { index: String(index) }),
    ...(digest !== undefined && { subjects: [{ name, digest: { sha256: digest } }] }),
    detail: cut(detailOf(report)),
  };
}

function indexOf(report: Report): number | undefined {
  if (report.verdict !== 'verified') return undefined;
  if (report.kind === 'receipt') return report.proven.index;
  return report.kind === 'export' ? report.proven.entry?.index : undefined;
}

function detailOf(report: Report): string {
  const kind = report.kind === undefined ? '' : `${report.kind}: `;
  if (report.verdict !== 'verified') return `${kind}step ${report.step}: ${report.message}`;
  return `${kind}${report.warnings.length === 0 ? 'no warnings' : `warnings: ${report.warnings.join(', ')}`}`;
}

/** Cuts a text to the limit, between two characters. */
function cut(text: string): string {
  let size = 0;
  let kept = '';
  for (const character of text) {
    size += utf8(character).length;
    if (size > maxDetail) break;
    kept += character;
  }
  return kept;
}

/** Returns the SHA-256 of a file, or undefined if it cannot be read. */
async function digestOf(file: InputFile): Promise<string | undefined> {
  try {
    const source = sourceOf(contentOf(file));
    const hash = sha256.create();
    for (let at = 0; at < source.size; at += PIECE) {
      const length = Math.min(PIECE, source.size - at);
      const piece = await source.read(at, length);
      if (piece.length !== length) return undefined;
      hash.update(piece);
    }
    return hex(hash.digest());
  } catch {
    return undefined;
  }
}
