/** Frequency and hot keys: section 9 of the specification. */

import { mix } from './name.js';

const ROWS = 4;
const PROMOTE_FROM = 4;
const DEMOTE_BELOW = 2;

/** Estimates how often names were used recently, by their hashes. */
export class Sketch {
  readonly #counters: Uint8Array;
  readonly #width: number;
  #added = 0;

  constructor(width: number) {
    this.#width = width;
    this.#counters = new Uint8Array(ROWS * width);
  }

  /** Returns the index of the counter of a row, whose step is `g`. */
  #at(row: number, hash: number, g: number): number {
    return row * this.#width + ((hash + Math.imul(row, g)) & (this.#width - 1));
  }

  /** Counts a use, and reports whether it halved all counters. */
  add(hash: number): boolean {
    const g = mix(hash ^ 0x9e3779b9) | 1;
    for (let i = 0; i < ROWS; i++) {
      const at = this.#at(i, hash, g);
      const count = this.#counters[at] ?? 0;
      if (count < 255) this.#counters[at] = count + 1;
    }
    this.#added++;
    if (this.#added < 8 * this.#width) return false;
    this.#added = 0;
    this.#counters.forEach((count, at) => (this.#counters[at] = count >>> 1));
    return true;
  }

  /** Returns how often a name was used, at most. */
  estimate(hash: number): number {
    const g = mix(hash ^ 0x9e3779b9) | 1;
    let least = 255;
    for (let i = 0; i < ROWS; i++) least = Math.min(least, this.#counters[this.#at(i, hash, g)] ?? 0);
    return least;
  }
}

/** A key whose entry is not evicted. */
export interface HotKey {
  name: string;
  hash: number;
  weight: number;
}

/** The bounded set of hot keys. */
export class HotSet {
  readonly keys = new Map<string, HotKey>();
  weight = 0;
  promoted = 0;
  demoted = 0;

  constructor(
    private readonly sketch: Sketch,
    private readonly maxKeys: number,
    readonly maxWeight: number,
  ) {}

  #fits(weight: number): boolean {
    return this.keys.size < this.maxKeys && this.weight + weight <= this.maxWeight;
  }

  /**
   * Makes a key hot if it fits, at the expense of at most one key that is used
   * at most half as much. With a smaller distance, keys of about the same use
   * would replace each other all the time. Returns the key that was demoted.
   */
  promote(key: HotKey): HotKey | undefined {
    const f = this.sketch.estimate(key.hash);
    if (f < PROMOTE_FROM || this.keys.has(key.name)) return undefined;
    let coldest: HotKey | undefined;
    if (!this.#fits(key.weight)) {
      coldest = this.#coldest();
      if (coldest === undefined || f < 2 * this.sketch.estimate(coldest.hash)) return undefined;
      this.demote(coldest);
    }
    if (this.#fits(key.weight)) {
      this.keys.set(key.name, key);
      this.weight += key.weight;
      this.promoted++;
    }
    return coldest;
  }

  /** Ends the promotion of a key. */
  demote(key: HotKey): void {
    this.keys.delete(key.name);
    this.weight -= key.weight;
    this.demoted++;
  }

  /**
   * Returns the hot key with the least estimate, and of several the one with
   * the least name.
   */
  #coldest(): HotKey | undefined {
    let coldest: HotKey | undefined;
    let least = 0;
    for (const key of this.keys.values()) {
      const f = this.sketch.estimate(key.hash);
      if (coldest === undefined || f < least || (f === least && isBefore(key.name, coldest.name))) {
        [coldest, least] = [key, f];
      }
    }
    return coldest;
  }

  /** Demotes the keys that are not used enough any more, and returns them. */
  review(): HotKey[] {
    const cold = [...this.keys.values()].filter((key) => this.sketch.estimate(key.hash) < DEMOTE_BELOW);
    for (const key of cold) this.demote(key);
    return cold;
  }
}

/** Compares two names in the order of their bytes, which is that of code points. */
function isBefore(a: string, b: string): boolean {
  for (let i = 0; i < a.length && i < b.length;) {
    const [x, y] = [a.codePointAt(i) ?? 0, b.codePointAt(i) ?? 0];
    if (x !== y) return x < y;
    i += x > 0xffff ? 2 : 1;
  }
  return a.length < b.length;
}
