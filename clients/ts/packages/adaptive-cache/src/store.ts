/** Entries, and which of them are evicted. */

/** A value, or the absence of one. Times are in microseconds. */
export class Entry<K, V> {
  /** When its lifetime ends. */
  expires = 0;
  /** From then on, hits decide about a refresh. */
  early = 0;
  /** How long a refresh is expected to take. */
  delta = 0;
  /** The number of invalidations that it outlived for certain. */
  checked = -1;
  hits = 0;
  /** Hits since the store looked at it, at most 3. */
  visits = 0;
  isHot = false;
  /** When a background load for it failed, or -1. */
  failed = -1;

  constructor(
    readonly name: string,
    /** The hash of the name. */
    readonly hash: number,
    /** Undefined: the origin has none. */
    readonly value: V | undefined,
    readonly weight: number,
    readonly edges: readonly K[],
    /** The token of its load. */
    readonly stamp: number,
    /** When its load began. */
    readonly started: number,
    /** The slots of its tags. */
    readonly slots: readonly number[],
  ) {}
}

/** Entries in the order in which they are considered for eviction. */
class Queue<K, V> {
  readonly entries = new Map<string, Entry<K, V>>();
  weight = 0;
  #next = this.entries.values();

  add(entry: Entry<K, V>): void {
    this.entries.set(entry.name, entry);
    this.weight += entry.weight;
  }

  remove(entry: Entry<K, V>): void {
    if (this.entries.delete(entry.name)) this.weight -= entry.weight;
  }

  /**
   * Removes the first entry. The iterator stays in place between calls, since
   * a new one would have to skip what was deleted.
   */
  shift(): Entry<K, V> | undefined {
    let next = this.#next.next();
    if (next.done) {
      this.#next = this.entries.values();
      next = this.#next.next();
    }
    if (next.done) return undefined;
    this.remove(next.value);
    return next.value;
  }
}

const SMALL_PART = 10; // of the weight, for entries that were used once

/**
 * The entries of a cache, bounded by weight. It evicts by S3-FIFO (Yang et
 * al., FIFO queues are all you need for cache eviction, SOSP 2023), with the
 * cache's frequency sketch in place of the queue of ghosts. Hot entries stay.
 */
export class Store<K, V> {
  readonly #small = new Queue<K, V>();
  readonly #main = new Queue<K, V>();
  evicted = 0;

  constructor(private readonly maxWeight: number) {}

  /** The sum of the weights of all entries. */
  get weight(): number {
    return this.#small.weight + this.#main.weight;
  }

  /** The number of entries, dead ones included. */
  get size(): number {
    return this.#small.entries.size + this.#main.entries.size;
  }

  /** Returns the entry of a name. */
  get(name: string): Entry<K, V> | undefined {
    return this.#main.entries.get(name) ?? this.#small.entries.get(name);
  }

  /** Returns all entries. */
  *values(): Generator<Entry<K, V>> {
    yield* this.#main.entries.values();
    yield* this.#small.entries.values();
  }

  /** Stores an entry, in the place of an earlier one of its name. */
  set(entry: Entry<K, V>, isFrequent: boolean): void {
    const old = this.get(entry.name);
    const queue = this.#main.entries.has(entry.name) || (old === undefined && isFrequent) ? this.#main : this.#small;
    if (old !== undefined) {
      entry.visits = old.visits;
      queue.weight -= old.weight; // a Map keeps the place of a replaced value
    }
    queue.add(entry);
    while (this.weight > this.maxWeight) this.#evict();
  }

  /** Removes the entry of a name. */
  delete(name: string): void {
    const entry = this.get(name);
    if (entry === undefined) return;
    this.#main.remove(entry);
    this.#small.remove(entry);
  }

  #evict(): void {
    const isSmall = this.#small.weight > this.maxWeight / SMALL_PART || this.#main.entries.size === 0;
    const entry = (isSmall ? this.#small : this.#main).shift();
    if (entry === undefined) return;
    if (entry.isHot || entry.visits > 0) {
      entry.visits = isSmall ? 0 : Math.max(0, entry.visits - 1);
      this.#main.add(entry);
    } else {
      this.evicted++;
    }
  }
}
