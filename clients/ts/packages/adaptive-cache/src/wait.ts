/** Waiting for events, with a limit. */

/** Waits until something happens, for the time in milliseconds at most. */
export class Bell {
  /** How often it has rung. */
  rings = 0;
  readonly #waiting = new Set<() => void>();

  /** Ends all waits. */
  ring(): void {
    this.rings++;
    for (const end of [...this.#waiting]) end();
  }

  /** Waits for a ring, the time or the signal, whichever is first. */
  async wait(milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        this.#waiting.delete(end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      signal?.addEventListener('abort', end, { once: true });
      this.#waiting.add(end);
    });
  }
}

/** Waits for a time in milliseconds, or for the signal. */
export const pause = (milliseconds: number, signal: AbortSignal) => new Bell().wait(milliseconds, signal);

/**
 * Returns the result of a call, or throws when its time in milliseconds is
 * over or the signal is aborted, whether or not the call heeds its signal.
 */
export async function limited<T>(
  milliseconds: number,
  signal: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const control = new AbortController();
  return await new Promise<T>((resolve, reject) => {
    const end = (reason: Error) => {
      control.abort(reason);
      reject(reason);
    };
    const timer = setTimeout(() => {
      end(new Error(`no answer within ${milliseconds} ms`));
    }, milliseconds);
    const aborted = () => {
      end(new Error('the call was cancelled', { cause: signal?.reason }));
    };
    signal?.addEventListener('abort', aborted, { once: true });
    const settled = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', aborted);
    };
    // A call that throws before it returns a promise has failed, too.
    void (async () => await call(control.signal))().then(resolve, reject).finally(settled);
    control.signal.addEventListener('abort', settled, { once: true });
  });
}

/** Returns the result of a call, or throws when the signal is aborted. */
export async function abortable<T>(signal: AbortSignal | undefined, call: Promise<T>): Promise<T> {
  if (signal === undefined) return await call;
  return await new Promise<T>((resolve, reject) => {
    const aborted = () => {
      reject(new Error('the call was cancelled', { cause: signal.reason }));
    };
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    void call.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', aborted);
    });
  });
}
