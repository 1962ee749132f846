/** Reads and loads: sections 6 and 7 of the specification. */

import { asError, CacheError } from './errors.js';
import { Flight } from './flight.js';
import type { LoadKind } from './flight.js';
import type { Member } from './member.js';
import { exceeds, hash, MAX_TAGS, resolverTag, shortTag, shortTags } from './name.js';
import { baseLifetime, ChangeRecord, Histogram, longestGap, refreshes, shortened } from './numbers.js';
import { settingsOf } from './options.js';
import type { CacheOptions, Loaded, Settings } from './options.js';
import { HotSet, Sketch } from './sketch.js';
import { zeroCounters } from './stats.js';
import type { CacheStats } from './stats.js';
import { Entry, Store } from './store.js';
import { WaitCounts } from './waits.js';

const HIT_BATCH = 64; // hits of an entry between two looks at its frequency
const MAX_EDGES = 8; // of a result
const ENTRY_PART = 8; // an entry weighs at most this part of the maximum
const HOT_PART = 16; // and the hot keys together this part
const RETRY_AFTER = 100_000; // after a failed background load
const MAX_JOINS = 3; // of a read
const MAX_DELTA = 60_000_000;

/** How a read was answered. */
export type Outcome =
  /** By an entry within its lifetime. */
  | 'hit'
  /** By an entry within its grace. */
  | 'late'
  /** By a load. */
  | 'miss';

/** Receives the name of a key that was read, and how the read is answered. */
export type ReadReport = (name: string | undefined, outcome: Outcome) => void;

/** The values of one resolver. */
export class Cache<K, V> {
  readonly #settings: Settings<K, V>;
  readonly #member: Member;
  readonly #tag: string;
  readonly #store: Store<K, V>;
  readonly #flights = new Map<string, Flight<K, V>>();
  readonly #sketch: Sketch;
  readonly #hot: HotSet;
  readonly #latencies = new Histogram();
  readonly #changes = new ChangeRecord();
  readonly #counts = zeroCounters();
  readonly #waits = new WaitCounts();
  #loads = 0;
  #lastBase = 0;
  #lastTTL = 0;

  /**
   * A cache whose entries die by the invalidations that the member applies.
   *
   * @throws {@link CacheError} with the code `options`.
   */
  constructor(member: Member, options: CacheOptions<K, V>) {
    const s = settingsOf(options);
    this.#settings = s;
    this.#member = member;
    this.#tag = resolverTag(s.resolver);
    this.#store = new Store(s.maxWeight);
    this.#sketch = new Sketch(s.width);
    this.#hot = new HotSet(this.#sketch, s.maxHot, Math.floor(s.maxWeight / HOT_PART));
  }

  /**
   * Returns the value of a key, from memory or from the loader, or undefined
   * if the origin has none. Values are shared: do not modify them.
   *
   * @throws {@link CacheError} with the codes `overloaded`, `timed-out` and
   * `faulty`, and errors of the loader.
   */
  async get(key: K, report?: ReadReport): Promise<V | undefined> {
    const now = this.#member.clock();
    const name = this.#nameOf(key);
    const entry = name === undefined ? undefined : this.#store.get(name);
    if (entry === undefined || !this.#isUsable(entry, now)) {
      if (entry !== undefined) this.#counts.refused++;
      report?.(name, 'miss');
      return await this.#miss(key, name, now);
    }
    if (now < entry.expires) {
      report?.(name, 'hit');
      this.#hit(key, entry, now);
      return entry.value;
    }
    if (entry.value === undefined || now >= entry.expires + this.#settings.grace) {
      report?.(name, 'miss');
      return await this.#miss(key, name, now);
    }
    report?.(name, 'late');
    this.#counts.lateHits++;
    if (mayRetry(entry, now)) this.#background(key, entry.name, 'refresh', entry);
    return entry.value;
  }

  /** Returns the name of a key, if it has one that can be cached. */
  #nameOf(key: K): string | undefined {
    const name = this.#settings.name(key);
    return name === undefined || name === '' || exceeds(name, this.#settings.maxName) ? undefined : name;
  }

  /** Reports whether a read at `now` may use an entry. */
  #isUsable(entry: Entry<K, V>, now: number): boolean {
    if (entry.started > now || !this.#member.allows(now, entry.started)) return false;
    // Most hits follow no invalidation, and need not look at the slots.
    const { generations } = this.#member;
    if (entry.checked === generations.applied) return true;
    if (!generations.isLive(entry.stamp, entry.slots)) return false;
    entry.checked = generations.applied;
    return true;
  }

  #hit(key: K, entry: Entry<K, V>, now: number): void {
    this.#counts.hits++;
    entry.hits++;
    if (entry.visits < 3) entry.visits++;
    if (entry.hits % HIT_BATCH === 0) this.#frequent(entry, now);
    if (entry.value === undefined) {
      this.#counts.negativeHits++;
      return;
    }
    if (now < entry.early || !mayRetry(entry, now)) return;
    const { beta, random } = this.#settings;
    if (refreshes(now, entry.expires, entry.delta, beta, random)) this.#background(key, entry.name, 'refresh', entry);
  }

  /** Loads a key, together with other reads of it. */
  async #miss(key: K, name: string | undefined, start: number): Promise<V | undefined> {
    this.#counts.misses++;
    try {
      return await this.#await(key, name, start);
    } finally {
      this.#waits.add(this.#member.clock() - start);
    }
  }

  async #await(key: K, name: string | undefined, start: number): Promise<V | undefined> {
    if (name === undefined) {
      this.#counts.uncacheable++;
      return await this.#alone(key, name);
    }
    this.#count(hash(name, this.#member.generations.seed));
    let now = start;
    for (let i = 0; i < MAX_JOINS; i++) {
      const { flight, isMine } = this.#join(key, name, now);
      await flight.wait();
      const { entry } = flight;
      if (isMine || entry === undefined || this.#member.generations.isLive(entry.stamp, entry.slots)) {
        return flight.result();
      }
      this.#counts.repeated++;
      now = this.#member.clock();
    }
    return await this.#alone(key, name);
  }

  /** Loads a key for one read. */
  async #alone(key: K, name: string | undefined): Promise<V | undefined> {
    const flight = this.#begin(key, name, 'alone');
    this.#launch(flight);
    await flight.wait();
    return flight.result();
  }

  /**
   * Returns the shared load of a key, if a read at `now` may use its result.
   * Otherwise it starts one.
   */
  #join(key: K, name: string, now: number): { flight: Flight<K, V>; isMine: boolean } {
    const shared = this.#flights.get(name);
    if (
      shared !== undefined &&
      this.#member.generations.isLive(shared.token, shared.own) &&
      this.#member.allows(now, shared.started)
    ) {
      this.#counts.joined++;
      return { flight: shared, isMine: false };
    }
    const flight = this.#begin(key, name, 'shared');
    this.#launch(flight);
    return { flight, isMine: true };
  }

  /** Starts a load for no read, unless the cache is busy. */
  #background(key: K, name: string, kind: 'refresh' | 'prefetch', old?: Entry<K, V>): void {
    if (this.#flights.has(name) || this.#loads >= Math.floor(this.#settings.maxLoads / 2)) {
      this.#counts.omitted++;
      return;
    }
    const flight = this.#begin(key, name, kind);
    flight.old = old;
    if (kind === 'refresh') this.#counts.refreshes++;
    else this.#counts.prefetches++;
    this.#launch(flight);
  }

  /** Registers a load. If too many run, the load has failed. */
  #begin(key: K, name: string | undefined, kind: LoadKind): Flight<K, V> {
    const { generations } = this.#member;
    const flight = new Flight<K, V>(key, name, kind);
    if (this.#loads >= this.#settings.maxLoads) {
      this.#counts.overloaded++;
      flight.fail(
        new CacheError('overloaded', `load from ${this.#settings.resolver}: too many loads: try again later`),
      );
      return flight;
    }
    flight.token = generations.applied;
    flight.started = this.#member.clock();
    this.#loads++;
    if (name === undefined) return flight;
    flight.own = [generations.slot(shortTag(name)), generations.slot(this.#tag)];
    if (kind !== 'alone') this.#flights.set(name, flight);
    return flight;
  }

  /** Calls the loader, unless the load has failed already. */
  #launch(flight: Flight<K, V>): void {
    if (flight.isEnded) return;
    this.#counts.loads++;
    const { load, resolver, loadTimeout } = this.#settings;
    const context = new Context();
    const failed = (thrown: unknown) => {
      this.#finish(flight, asError(thrown, `the loader of ${resolver}`));
    };
    let result: Loaded<K, V> | Promise<Loaded<K, V>>;
    try {
      result = load(flight.key, context);
      if (!isPromise(result)) {
        this.#finish(flight, result);
        this.#loads--;
        return;
      }
    } catch (thrown) {
      failed(thrown);
      this.#loads--;
      return;
    }
    const timer = setTimeout(() => {
      const error = this.#timeout();
      context.abort(error);
      this.#finish(flight, error);
    }, loadTimeout / 1000);
    const ended = () => {
      clearTimeout(timer);
      this.#loads--;
    };
    const loaded = (value: Loaded<K, V>) => {
      this.#finish(flight, value);
    };
    void result.then(loaded, failed).then(ended, ended);
  }

  #timeout(): CacheError {
    const { resolver, loadTimeout } = this.#settings;
    return new CacheError('timed-out', `load from ${resolver}: not finished after ${loadTimeout / 1000} ms`);
  }

  /** Ends a load once: with the result of its loader, or when its time is over. */
  #finish(flight: Flight<K, V>, outcome: Loaded<K, V> | Error): void {
    if (flight.isEnded) return;
    flight.isEnded = true;
    const now = this.#member.clock();
    const took = Math.max(0, now - flight.started);
    const result = took > this.#settings.loadTimeout ? this.#timeout() : outcome;
    if (!(result instanceof Error)) {
      try {
        this.#conclude(flight, result, now, took);
      } catch (thrown) {
        this.#counts.failed++;
        flight.entry = undefined;
        flight.error = asError(thrown, `a function for ${this.#settings.resolver}`);
      }
    } else {
      flight.error = result;
      if (result instanceof CacheError && result.code === 'timed-out') {
        this.#latencies.add(this.#settings.loadTimeout);
        this.#counts.timedOut++;
      } else {
        this.#counts.failed++;
      }
    }
    if (flight.entry === undefined && flight.old !== undefined) flight.old.failed = now;
    if (flight.name !== undefined && this.#flights.get(flight.name) === flight) this.#flights.delete(flight.name);
    flight.settle();
  }

  /** Makes an entry of a result, and stores it. */
  #conclude(flight: Flight<K, V>, result: Loaded<K, V>, now: number, took: number): void {
    if (typeof result !== 'object') throw new TypeError('the loader must return an object with the member value');
    const { value, tags = [], edges = [] } = result;
    flight.value = value;
    if (flight.name === undefined) return;
    const { generations } = this.#member;
    const own = shortTags([flight.name, this.#tag, ...tags]);
    const weight = value === undefined ? 1 : Math.max(1, Math.ceil(this.#settings.weigh(value, flight.key)));
    if (!Number.isFinite(weight)) throw new TypeError('the weight of a value must be a number');
    const entry = new Entry(
      flight.name,
      hash(flight.name, generations.seed),
      value,
      weight,
      value === undefined ? [] : edges.slice(0, MAX_EDGES),
      flight.token,
      flight.started,
      own.map((tag) => generations.slot(tag)),
    );
    const observation = this.#compare(entry);
    this.#latencies.add(took);
    if (observation !== undefined) this.#changes.observe(...observation);
    this.#schedule(entry, now, took);
    const isHot = this.#keep(entry, own.length <= MAX_TAGS);
    flight.entry = entry;
    if (isHot && flight.kind === 'refresh') this.#prefetch(entry, now);
  }

  /** Returns the age and the change of a value against the stored one. */
  #compare(entry: Entry<K, V>): [age: number, change: number] | undefined {
    const { change } = this.#settings;
    const old = this.#store.get(entry.name);
    if (entry.value === undefined || change === undefined || old?.value === undefined) return undefined;
    if (!this.#member.generations.isLive(old.stamp, old.slots)) return undefined;
    const c = Math.floor(change(old.value, entry.value));
    if (Number.isNaN(c)) throw new TypeError('the change of a value must be a number');
    this.#counts.compared++;
    if (c > 0) this.#counts.differed++;
    return [entry.started - old.started, c];
  }

  /** Sets the lifetime of an entry. */
  #schedule(entry: Entry<K, V>, now: number, took: number): void {
    const s = this.#settings;
    if (entry.value === undefined) {
      entry.expires = now + s.negativeTTL;
      return;
    }
    const p95 = this.#latencies.quantile(95);
    const base = baseLifetime(s, this.#changes, p95);
    if (this.#lastBase > 0 && base > this.#lastBase) this.#counts.ttlRaised++;
    if (base < this.#lastBase) this.#counts.ttlLowered++;
    this.#lastBase = base;
    this.#lastTTL = shortened(base, s.random());
    entry.expires = now + this.#lastTTL;
    entry.delta = Math.min(MAX_DELTA, Math.max(took, p95));
    entry.early = s.beta === 0 ? entry.expires : entry.expires - longestGap(entry.delta, s.beta);
  }

  /**
   * Stores the entry of a load, and reports whether its key is hot. What cannot
   * be stored replaces the older entry of its key, too.
   */
  #keep(entry: Entry<K, V>, hasFewTags: boolean): boolean {
    const { generations } = this.#member;
    const { maxWeight, negativeTTL } = this.#settings;
    if (!generations.isLive(entry.stamp, entry.slots)) {
      this.#counts.rejected++;
      return false;
    }
    const old = this.#store.get(entry.name);
    const isNewer =
      old !== undefined && (old.stamp > entry.stamp || (old.stamp === entry.stamp && old.started > entry.started));
    const hot = this.#hot.keys.get(entry.name);
    if (isNewer && generations.isLive(old.stamp, old.slots)) return hot !== undefined;
    const estimate = this.#sketch.estimate(entry.hash);
    const isWorth = entry.value !== undefined || (negativeTTL > 0 && estimate >= 2);
    if (!hasFewTags || !isWorth || entry.weight > Math.floor(maxWeight / ENTRY_PART)) {
      this.#store.delete(entry.name);
      return hot !== undefined;
    }
    if (hot !== undefined) {
      this.#hot.weight += entry.weight - hot.weight;
      hot.weight = entry.weight;
      if (this.#hot.weight > this.#hot.maxWeight) this.#hot.demote(hot);
    }
    entry.isHot = this.#hot.keys.has(entry.name);
    this.#store.set(entry, estimate >= 2);
    return entry.isHot;
  }

  /** Adds a use of a name to the sketch. */
  #count(h: number): void {
    if (this.#sketch.add(h)) this.#cool(this.#hot.review());
  }

  #cool(demoted: readonly { name: string }[]): void {
    for (const { name } of demoted) {
      const entry = this.#store.get(name);
      if (entry !== undefined) entry.isHot = false;
    }
  }

  /** Runs after each 64th hit of an entry. */
  #frequent(entry: Entry<K, V>, now: number): void {
    this.#count(entry.hash);
    const { name, hash: h, weight } = entry;
    if (!this.#hot.keys.has(name) && entry.value !== undefined) {
      const demoted = this.#hot.promote({ name, hash: h, weight });
      if (demoted !== undefined) this.#cool([demoted]);
      entry.isHot = this.#hot.keys.has(name);
    }
    if (this.#hot.keys.has(name)) this.#prefetch(entry, now);
  }

  /** Loads the edges of a hot entry that are not in the cache. */
  #prefetch(entry: Entry<K, V>, now: number): void {
    for (const key of entry.edges) {
      const name = this.#nameOf(key);
      if (name === undefined) continue;
      const old = this.#store.get(name);
      if (old === undefined || now >= old.expires || !this.#isUsable(old, now)) this.#background(key, name, 'prefetch');
    }
  }

  /** Ends the life of the entries of keys in every process; see {@link Member.invalidate}. */
  async invalidate(...keys: readonly K[]): Promise<void> {
    await this.#member.invalidate(keys.map((key) => this.#settings.name(key) ?? ''));
  }

  /** Ends the life of all entries of the cache's resolver in every process. */
  async invalidateAll(): Promise<void> {
    await this.#member.invalidate([this.#tag]);
  }

  /** Returns the names of the entries in memory, dead ones included. */
  *names(): Generator<string> {
    for (const { name } of this.#store.values()) yield name;
  }

  /** Returns the names of the hot keys. */
  hotNames(): string[] {
    return [...this.#hot.keys.keys()];
  }

  /** Returns the counters and estimates. */
  stats(): CacheStats {
    return {
      ...this.#counts,
      waits: this.#waits.snapshot(this.#counts.hits + this.#counts.lateHits),
      invalidations: this.#member.generations.applied,
      ...{ promotions: this.#hot.promoted, demotions: this.#hot.demoted, evictions: this.#store.evicted },
      ...{ entries: this.#store.size, weight: this.#store.weight },
      ...{ hot: this.#hot.keys.size, hotWeight: this.#hot.weight, running: this.#loads },
      ttl: this.#lastTTL,
      p95: this.#latencies.quantile(95),
      p99: this.#latencies.quantile(99),
    };
  }
}

/** Makes the signal of a load for the loaders that use it, which few do. */
class Context {
  #control: AbortController | undefined;
  #reason: Error | undefined;

  get signal(): AbortSignal {
    this.#control ??= new AbortController();
    if (this.#reason !== undefined) this.#control.abort(this.#reason);
    return this.#control.signal;
  }

  abort(reason: Error): void {
    this.#reason = reason;
    this.#control?.abort(reason);
  }
}

/** Reports whether no background load for an entry failed just now. */
function mayRetry({ failed }: { failed: number }, now: number): boolean {
  return failed < 0 || now - failed >= RETRY_AFTER;
}

function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
