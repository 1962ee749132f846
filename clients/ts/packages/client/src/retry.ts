/** Retries of calls, all of which can be repeated safely. */

import { Code, ConnectError } from '@connectrpc/connect';

/** How calls are repeated. Times are in milliseconds. */
export interface RetryOptions {
  /** The number of attempts, the first one included. Default: 6. */
  attempts?: number;
  /** The delay after the first attempt, which doubles. Default: 100. */
  firstDelay?: number;
  /** The longest delay, also of those that the server asks for. Default: 5,000. */
  maxDelay?: number;
}

/** Waits, and ends early with the reason of the signal. */
export async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', end);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', end, { once: true });
  });
}

/** The delays between attempts of one call. */
export class Backoff {
  private failures = 0;
  private readonly attempts: number;
  private readonly firstDelay: number;
  private readonly maxDelay: number;

  constructor({ attempts = 6, firstDelay = 100, maxDelay = 5000 }: RetryOptions = {}) {
    this.attempts = attempts;
    this.firstDelay = firstDelay;
    this.maxDelay = maxDelay;
  }

  /** Begins anew, after progress. */
  reset(): void {
    this.failures = 0;
  }

  /**
   * Returns the delay before the next attempt, or undefined if the error is
   * final. The server asks for a delay when it is overloaded. A longer one than
   * the limit needs an operator.
   */
  delay(error: unknown): number | undefined {
    this.failures++;
    if (!(error instanceof ConnectError) || this.failures >= this.attempts) return undefined;
    if (error.code !== Code.Unavailable && error.code !== Code.ResourceExhausted) return undefined;
    const asked = error.metadata.get('retry-after') ?? '';
    if (/^\d{1,9}$/.test(asked)) return Number(asked) * 1000 <= this.maxDelay ? Number(asked) * 1000 : undefined;
    if (error.code === Code.ResourceExhausted) return undefined;
    const longest = Math.min(this.maxDelay, this.firstDelay * 2 ** (this.failures - 1));
    return longest * (0.5 + Math.random() / 2); // so that clients do not return at once
  }
}

/** Repeats a call while the server is unavailable or overloaded. */
export async function retry<T>(
  options: RetryOptions | undefined,
  signal: AbortSignal | undefined,
  call: () => Promise<T>,
): Promise<T> {
  const backoff = new Backoff(options);
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const delay = backoff.delay(error);
      if (delay === undefined) throw error;
      await pause(delay, signal);
    }
  }
}
