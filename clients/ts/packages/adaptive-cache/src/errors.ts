/** The errors of this package, each with a code. */

/** The reason why a read or an invalidation failed. */
export type CacheErrorCode =
  /** Too many loads were running. */
  | 'overloaded'
  /** A load has taken too long. */
  | 'timed-out'
  /** A loader, or another function of the application, has thrown no Error. */
  | 'faulty'
  /** The bus has not confirmed an invalidation. Repeat it. */
  | 'not-confirmed'
  /** The ledger lacks entries about windows that have passed. */
  | 'not-recorded'
  /** An option is missing or outside of its bounds. */
  | 'options';

/** The error of a read or an invalidation. Errors of loaders are passed as they are. */
export class CacheError extends Error {
  /** The name of the class. */
  override readonly name = 'CacheError';

  /** An error with its reason. */
  constructor(
    /** The reason. */
    readonly code: CacheErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Returns what a loader has thrown as an error. */
export function asError(thrown: unknown, what: string): Error {
  if (thrown instanceof Error) return thrown;
  return new CacheError('faulty', `${what} threw a value that is not an Error: ${describe(thrown)}`, { cause: thrown });
}

function describe(value: unknown): string {
  try {
    return String(value).slice(0, 200);
  } catch {
    return typeof value;
  }
}

/** Checks that a number is an integer within bounds. */
export function within(what: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new CacheError('options', `${what} must be an integer from ${least} to ${most}, and is ${value}`);
  }
}

/** Checks that a number is a power of two from 16 to 2^24. */
export function powerOfTwo(what: string, value: number): void {
  if (!Number.isInteger(Math.log2(value)) || value < 16 || value > 2 ** 24) {
    throw new CacheError('options', `${what} must be a power of two from 16 to 16777216, and is ${value}`);
  }
}
