/** The errors of this package, each with a code (receipt.md, section 5). */

/** The reason why a receipt was refused or not checked. */
export type Code =
  | 'policy-missing'
  | 'policy-malformed'
  | 'stream-key-malformed'
  | 'expectation-malformed'
  | 'unreadable'
  | 'receipt-malformed'
  | 'receipt-version'
  | 'proof-malformed'
  | 'payload-unexpected'
  | 'payload-erased'
  | 'payload-missing'
  | 'payload-differs'
  | 'header-malformed'
  | 'payload-mismatch'
  | 'link-prev'
  | 'link-seq'
  | 'checkpoint-origin'
  | 'checkpoint-signature'
  | 'checkpoint-unsigned'
  | 'checkpoint-quorum'
  | 'inclusion'
  | 'origin-mismatch'
  | 'header-erased'
  | 'tenant-mismatch'
  | 'kind-mismatch'
  | 'subject-mismatch'
  | 'predicate-type-mismatch'
  | 'control-mismatch'
  | 'signature-unverified'
  | 'signer-mismatch'
  | 'not-admitted'
  | 'link-hidden'
  | 'stream-mismatch'
  | 'tag-mismatch'
  | 'external-unexpected'
  | 'external-mismatch';

/** Maps each reason code to its step in receipt.md, section 4. */
export const STEPS: Readonly<Record<Code, number>> = {
  'policy-missing': 0,
  'policy-malformed': 0,
  'stream-key-malformed': 0,
  'expectation-malformed': 0,
  unreadable: 0,
  'receipt-malformed': 1,
  'receipt-version': 1,
  'proof-malformed': 1,
  'payload-unexpected': 2,
  'payload-erased': 2,
  'payload-missing': 2,
  'payload-differs': 2,
  'header-malformed': 4,
  'payload-mismatch': 4,
  'link-prev': 5,
  'link-seq': 5,
  'checkpoint-origin': 7,
  'checkpoint-signature': 7,
  'checkpoint-unsigned': 7,
  'checkpoint-quorum': 7,
  inclusion: 8,
  'origin-mismatch': 9,
  'header-erased': 10,
  'tenant-mismatch': 10,
  'kind-mismatch': 10,
  'subject-mismatch': 10,
  'predicate-type-mismatch': 10,
  'control-mismatch': 10,
  'signature-unverified': 10,
  'signer-mismatch': 10,
  'not-admitted': 10,
  'link-hidden': 10,
  'stream-mismatch': 10,
  'tag-mismatch': 10,
  'external-unexpected': 10,
  'external-mismatch': 10,
};

/**
 * The base of all errors of this package. `message` is for people and may
 * change between versions.
 */
export class MunimentError extends Error {
  /** The name of the class. */
  override name = 'MunimentError';
  /** Creates an error with a code and a message. */
  constructor(
    /** The reason, for programs. It does not change between versions. */
    readonly code: Code,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The number of the step in receipt.md, section 4, that failed. */
  get step(): number {
    return STEPS[this.code];
  }
}

/** The receipt was refused. */
export class NotVerifiedError extends MunimentError {
  override name = 'NotVerifiedError';
}

/**
 * A receipt (receipt.md, sections 1 and 2) or a header (entry.md, section 4) is
 * malformed.
 */
export class FormatError extends MunimentError {
  override name = 'FormatError';
  /** Creates an error. The code is `receipt-malformed` unless specified. */
  constructor(message: string, code: Code = 'receipt-malformed') {
    super(code, message);
  }
}

/** The call was wrong (step 0), so there is no verdict on the receipt. */
export class CallerError extends MunimentError {
  override name = 'CallerError';
}

/**
 * A policy is malformed (receipt.md, section 3). The message never quotes the
 * file.
 */
export class PolicyError extends CallerError {
  override name = 'PolicyError';
  /** Creates the error of a line of a policy, or of the whole policy. */
  constructor(
    /** The name that the caller gave the policy. */
    readonly policy: string,
    problem: string,
    /**
     * The number of the faulty line, from 1. Undefined if the fault is not in
     * one line.
     */
    readonly line?: number,
  ) {
    super(
      'policy-malformed',
      line === undefined ? `policy ${policy}: ${problem}` : `policy ${policy}: line ${line}: ${problem}`,
    );
  }
}

/** An option is malformed or unknown. */
export class OptionError extends CallerError {
  override name = 'OptionError';
  /** Creates an error. The code is `expectation-malformed` unless specified. */
  constructor(
    /** The name of the option. */
    readonly option: string,
    problem: string,
    code: Code = 'expectation-malformed',
  ) {
    super(code, `option ${option}: ${problem}`);
  }
}
