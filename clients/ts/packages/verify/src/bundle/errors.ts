/**
 * The errors of the verification of evidence bundles (bundle.md, section 5).
 */

/** The reason why a bundle was refused or not checked. */
export type EvidenceCode =
  | 'policy-missing'
  | 'policy-malformed'
  | 'stream-key-malformed'
  | 'expectation-malformed'
  | 'unreadable'
  | 'archive-malformed'
  | 'manifest-missing'
  | 'manifest-malformed'
  | 'manifest-version'
  | 'members-differ'
  | 'member-digest'
  | 'checkpoint-malformed'
  | 'checkpoint-origin'
  | 'checkpoint-signature'
  | 'checkpoint-unsigned'
  | 'checkpoint-quorum'
  | 'checkpoint-mismatch'
  | 'leaves-malformed'
  | 'tree-root'
  | 'tile-mismatch'
  | 'record-malformed'
  | 'record-order'
  | 'header-malformed'
  | 'header-foreign'
  | 'record-leaf'
  | 'stream-mismatch'
  | 'erasure-mismatch'
  | 'payload-omitted'
  | 'payload-missing'
  | 'payload-unexpected'
  | 'payload-mismatch'
  | 'receipt-mismatch'
  | 'stream-key-mismatch'
  | 'stream-incomplete'
  | 'identity-mismatch'
  | 'tenant-mismatch'
  | 'report-mismatch';

/**
 * Maps each reason code to its step. This verifier does not perform step 11.
 */
export const EVIDENCE_STEPS: Readonly<Record<EvidenceCode, number>> = {
  'policy-missing': 0,
  'policy-malformed': 0,
  'stream-key-malformed': 0,
  'expectation-malformed': 0,
  unreadable: 0,
  'archive-malformed': 1,
  'manifest-missing': 2,
  'manifest-malformed': 2,
  'manifest-version': 2,
  'members-differ': 2,
  'member-digest': 3,
  'checkpoint-malformed': 4,
  'checkpoint-origin': 4,
  'checkpoint-signature': 4,
  'checkpoint-unsigned': 4,
  'checkpoint-quorum': 4,
  'checkpoint-mismatch': 4,
  'leaves-malformed': 5,
  'tree-root': 5,
  'tile-mismatch': 5,
  'record-malformed': 6,
  'record-order': 6,
  'header-malformed': 6,
  'header-foreign': 6,
  'record-leaf': 6,
  'stream-mismatch': 6,
  'erasure-mismatch': 7,
  'payload-omitted': 8,
  'payload-missing': 8,
  'payload-unexpected': 8,
  'payload-mismatch': 8,
  'receipt-mismatch': 8,
  'stream-key-mismatch': 9,
  'stream-incomplete': 9,
  'identity-mismatch': 10,
  'tenant-mismatch': 10,
  'report-mismatch': 11,
};

/**
 * The bundle was refused, or the call was wrong. `message` is for people and
 * may change between versions.
 */
export class EvidenceError extends Error {
  /** The name of the class. */
  override name = 'EvidenceError';
  /** Creates an error with a code and a message. */
  constructor(
    /** The reason, for programs. It does not change between versions. */
    readonly code: EvidenceCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The number of the step in bundle.md, section 5, that failed. */
  get step(): number {
    return EVIDENCE_STEPS[this.code];
  }

  /** `not-checked` if the call was wrong, so that there is no verdict. */
  get verdict(): 'refused' | 'not-checked' {
    return this.step === 0 ? 'not-checked' : 'refused';
  }
}

/** Returns the error of a source that cannot be read. */
export function unreadable(cause: unknown): EvidenceError {
  const reason = cause instanceof Error ? cause.message : 'read failed';
  return new EvidenceError('unreadable', `read the bundle: ${reason}`, { cause });
}
