/**
 * The errors of the verification of exports (export-manifest.md, section 7).
 */

import type { EvidenceCode } from '../bundle/errors.js';
import type { Code } from '../errors.js';

/**
 * The codes of each step. Steps 9 and 10 have those of receipts and evidence
 * bundles as well.
 */
export const EXPORT_STEPS = [
  [
    'trust-missing',
    'policy-missing',
    'policy-malformed',
    'receipt-missing',
    'stream-key-missing',
    'stream-key-malformed',
    'expectation-malformed',
    'requirement-malformed',
    'unreadable',
  ],
  ['manifest-malformed', 'payload-type'],
  ['signature-unverified'],
  [
    'statement-malformed',
    'statement-version',
    'predicate-type',
    'number-malformed',
    'number-range',
    'name-unsafe',
    'name-duplicate',
    'subjects-differ',
  ],
  ['tenant-mismatch', 'export-mismatch'],
  [
    'region-unknown',
    'region-contradiction',
    'claim-signer',
    'residency-missing',
    'storage-not-allowed',
    'storage-forbidden',
    'processing-not-included',
    'processing-excluded',
  ],
  ['license-malformed', 'license-unknown', 'license-not-allowed'],
  [
    'privacy-missing',
    'flavor-unsupported',
    'privacy-parameters',
    'claim-signer',
    'rho-understated',
    'epsilon-understated',
    'spent-understated',
    'budget-exceeded',
    'budget-mismatch',
    'epsilon-not-allowed',
  ],
  ['file-missing', 'file-extra', 'file-size', 'file-digest'],
  [],
  ['entry-missing', 'entry-differs', 'evidence-missing', 'spend-unreadable', 'spend-differs', 'spent-understated'],
] as const;

/** The reason why an export was refused or not checked. */
export type ExportCode = (typeof EXPORT_STEPS)[number][number] | Code | EvidenceCode;

/**
 * The export was refused, or the call was wrong. `message` is for people and
 * may change between versions.
 */
export class ExportError extends Error {
  /** The name of the class. */
  override name = 'ExportError';
  /** Creates an error with a code and a message. */
  constructor(
    /** The reason, for programs. It does not change between versions. */
    readonly code: ExportCode,
    /** The number of the step in export-manifest.md, section 7, that failed. */
    readonly step: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** `not-checked` if the call was wrong, so that there is no verdict. */
  get verdict(): 'refused' | 'not-checked' {
    return this.step === 0 ? 'not-checked' : 'refused';
  }
}

/** A failed check, before its step is known. */
export class Failure extends Error {
  constructor(
    readonly code: ExportCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
