/** The errors of this library, each with a code (receipt.md, section 5). */

/** Every code, and the step of receipt.md, section 4, that it belongs to. */
export const STEPS = {
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
} as const;

/** The reason for which a receipt is refused or not checked. */
export type Code = keyof typeof STEPS;

/** The base of every error that this library throws on purpose. */
export class MunimentError extends Error {
  override name = 'MunimentError';
  constructor(
    readonly code: Code,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** The number of the failing step in receipt.md, section 4. */
  get step(): number {
    return STEPS[this.code];
  }
}

/** A receipt is refused. */
export class NotVerifiedError extends MunimentError {
  override name = 'NotVerifiedError';
}

/** A document violates its format: a receipt (receipt.md, sections 1 and 2) or a header (entry.md, section 4). */
export class FormatError extends MunimentError {
  override name = 'FormatError';
  constructor(message: string, code: Code = 'receipt-malformed') {
    super(code, message);
  }
}

/** The call itself is wrong (step 0), so that there is no verdict about the receipt. */
export class CallerError extends MunimentError {
  override name = 'CallerError';
}

/** A policy is malformed (receipt.md, section 3). The message never repeats text of the file. */
export class PolicyError extends CallerError {
  override name = 'PolicyError';
  constructor(
    /** Name of the policy, as the caller gave it. */
    readonly policy: string,
    problem: string,
    /** Line of the text, from 1; undefined if the error concerns the whole file. */
    readonly line?: number,
  ) {
    super(
      'policy-malformed',
      line === undefined ? `policy ${policy}: ${problem}` : `policy ${policy}: line ${line}: ${problem}`,
    );
  }
}

/** An option of a call is malformed, or not an option. */
export class OptionError extends CallerError {
  override name = 'OptionError';
  constructor(
    /** Name of the option. */
    readonly option: string,
    problem: string,
    code: Code = 'expectation-malformed',
  ) {
    super(code, `option ${option}: ${problem}`);
  }
}
