/** The base of every error that this library throws on purpose. */
export class MunimentError extends Error {
  override name = 'MunimentError';
}

/** A document breaks its format: a receipt (receipt.md, sections 1 and 2) or a header (entry.md, section 4). */
export class FormatError extends MunimentError {
  override name = 'FormatError';
}

/** A policy is malformed (receipt.md, section 3). This is the caller's mistake, and no verdict about a receipt. */
export class PolicyError extends MunimentError {
  override name = 'PolicyError';
  constructor(
    /** Name of the policy, as the caller gave it. */
    readonly policy: string,
    message: string,
    /** Line of the text, from 1; undefined where the whole text is meant. */
    readonly line?: number,
  ) {
    super(line === undefined ? `policy ${policy}: ${message}` : `policy ${policy}: line ${line}: ${message}`);
  }
}

/** The options of a call can't be meant as they are. This is the caller's mistake, and no verdict about a receipt. */
export class OptionError extends MunimentError {
  override name = 'OptionError';
  constructor(
    /** Name of the option. */
    readonly option: string,
    problem: string,
  ) {
    super(`option ${option}: ${problem}`);
  }
}

/** Steps of receipt.md, section 4, that can fail. */
export type Step = 1 | 2 | 4 | 5 | 7 | 8 | 9 | 10;

/** A receipt does not verify. */
export class NotVerifiedError extends MunimentError {
  override name = 'NotVerifiedError';
  constructor(
    /** Which step of receipt.md, section 4, failed. */
    readonly step: Step,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
