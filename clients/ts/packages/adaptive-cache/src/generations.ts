/** Generations: section 4 of the specification. */

import { hash } from './name.js';

/**
 * Records which invalidations a member has applied. Loads take a token from
 * it, and entries die by it.
 */
export class Generations {
  /** S of the specification, which is also the token of a load that begins. */
  applied = 0;
  floor = 0;
  /** The number of each slot. */
  readonly slots: Float64Array;

  constructor(
    slots: number,
    readonly seed: number,
  ) {
    this.slots = new Float64Array(slots);
  }

  /** Returns the slot of a tag. */
  slot(tag: string): number {
    return hash(tag, this.seed) & (this.slots.length - 1);
  }

  /** Invalidates the entries of tags, and the results of their loads in progress. */
  apply(tags: readonly string[]): void {
    this.applied++;
    for (const tag of tags) this.slots[this.slot(tag)] = this.applied;
  }

  /** Invalidates all entries, and the results of all loads in progress. */
  flush(): void {
    this.applied++;
    this.floor = this.applied;
  }

  /**
   * Reports whether no invalidation of the slots was applied since the load
   * with the token began.
   */
  isLive(token: number, slots: readonly number[]): boolean {
    if (token < this.floor) return false;
    for (const slot of slots) if (token < (this.slots[slot] ?? Infinity)) return false;
    return true;
  }
}
