/** Loads: section 7 of the specification. */

import type { Entry } from './store.js';

/** Why a load runs. */
export type LoadKind =
  /** By a miss, joined by others. */
  | 'shared'
  /** By a miss, joined by none. */
  | 'alone'
  /** In the background, for an entry that is about to expire. */
  | 'refresh'
  /** In the background, for an edge. */
  | 'prefetch';

/** One load. */
export class Flight<K, V> {
  /** The slots of the name and the resolver. */
  own: readonly number[] = [];
  token = 0;
  started = 0;
  /** The entry that it refreshes. */
  old: Entry<K, V> | undefined;
  /** It has a result, or its time is over. */
  isEnded = false;
  /** The entry made from the result. There is none after an error, and for a key without a name. */
  entry: Entry<K, V> | undefined;
  value: V | undefined;
  error: Error | undefined;

  #isSettled = false;
  #waiting: (() => void)[] = [];

  constructor(
    readonly key: K,
    readonly name: string | undefined,
    readonly kind: LoadKind,
  ) {}

  /** Ends the load with an error, before or after its loader was called. */
  fail(error: Error): void {
    this.isEnded = true;
    this.error = error;
    this.settle();
  }

  /** Passes the result to the reads that wait. */
  settle(): void {
    this.#isSettled = true;
    for (const resolve of this.#waiting) resolve();
    this.#waiting = [];
  }

  /** Waits for the end of the load. */
  async wait(): Promise<void> {
    if (!this.#isSettled) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Returns the result, or throws the error. */
  result(): V | undefined {
    if (this.error !== undefined) throw this.error;
    return this.value;
  }
}
