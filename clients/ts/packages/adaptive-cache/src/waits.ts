/** How long reads waited for the origin: section 15 of the specification. */

import { bucket, BUCKETS, upperEnd } from './numbers.js';

/**
 * Counts reads by how long they waited for the origin. Reads that were answered
 * from memory have waited for 0.
 */
export class Waits {
  /** The number of reads. */
  readonly reads: number;
  readonly #counts: readonly number[];

  /** @internal */
  constructor(counts: readonly number[]) {
    this.#counts = counts;
    this.reads = counts.reduce((sum, count) => sum + count, 0);
  }

  /** Returns the waits of the reads after an earlier snapshot. */
  since(earlier: Waits): Waits {
    return new Waits(this.#counts.map((count, i) => Math.max(0, count - (earlier.#counts[i] ?? 0))));
  }

  /**
   * Returns the `p` % quantile in microseconds, at most an eighth too long, or
   * 0 without reads.
   */
  quantile(p: number): number {
    if (this.reads === 0) return 0;
    let c = 0;
    return upperEnd(this.#counts.findIndex((count) => (c += count) * 100 >= p * this.reads));
  }
}

/** Counts reads that were not answered from memory. */
export class WaitCounts {
  readonly #counts = new Float64Array(BUCKETS);

  /** Counts a read that has waited for a time in microseconds. */
  add(duration: number): void {
    const i = bucket(duration);
    this.#counts[i] = (this.#counts[i] ?? 0) + 1;
  }

  /** Returns the counts, with reads that were answered from memory. */
  snapshot(fromMemory: number): Waits {
    const counts = Array.from(this.#counts);
    counts[0] = (counts[0] ?? 0) + fromMemory;
    return new Waits(counts);
  }
}
