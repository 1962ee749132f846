/** The configuration of a cache: section 12 of the specification. */

import { CacheError, powerOfTwo, within } from './errors.js';
import type { LifetimeBounds } from './numbers.js';
import { ONE } from './numbers.js';

/** What a loader returns for a key. */
export interface Loaded<K, V> {
  /** The value, or undefined if the origin has none. */
  value: V | undefined;
  /** What the value, or its absence, depends on besides its key and resolver. */
  tags?: readonly string[];
  /** Up to 8 keys that are usually read next. */
  edges?: readonly K[];
}

/** The context of a load. */
export interface LoadContext {
  /** Aborted when the time of the load is over. */
  signal: AbortSignal;
}

/** The configuration of a cache. Durations are in milliseconds. */
export interface CacheOptions<K, V> {
  /** The name of what is loaded, part of each key's name. */
  resolver: string;
  /**
   * Reads the origin. It must not return a state from before its call. What it
   * throws is passed to the reads that wait for it, and is not cached.
   */
  load: (key: K, context: LoadContext) => Loaded<K, V> | Promise<Loaded<K, V>>;
  /**
   * Returns the name of a key, as {@link nameOf} makes it. It is part of
   * invalidations, so it must be the same in every process. A key without a
   * name is never cached.
   */
  name: (key: K) => string | undefined;
  /** Bounds the sum of what `weigh` returns for the entries. */
  maxWeight: number;
  /** Returns the weight of a value, an integer. Default: 1. */
  weigh?: ((value: V, key: K) => number) | undefined;
  /**
   * Returns how much two values differ, from 0 (equal) to 65536; see
   * {@link changed}. Without it, lifetimes depend only on the duration of
   * loads.
   */
  change?: ((old: V, value: V) => number) | undefined;
  /** The least lifetime of a value. Default: 1,000. */
  minTTL?: number | undefined;
  /** The lifetime of a value until eight were compared. Default: 10,000. */
  initialTTL?: number | undefined;
  /** The longest lifetime of a value. Default: 300,000. */
  maxTTL?: number | undefined;
  /** The lifetime of absence. With 0, none is stored. Default: 5,000. */
  negativeTTL?: number | undefined;
  /**
   * For how long a value may be returned after its lifetime while it is loaded
   * again, as by stale-while-revalidate. Invalidations end it. Default: 0.
   */
  grace?: number | undefined;
  /** The accepted probability of an unannounced change, per mille. Default: 50. */
  risk?: number | undefined;
  /** Scales early refreshes, in units of 1/256. With 0, there are none. Default: 256. */
  beta?: number | undefined;
  /** How many loads can run at the same time. Default: 256. */
  maxLoads?: number | undefined;
  /** The longest duration of a load. Default: 10,000. */
  loadTimeout?: number | undefined;
  /** The most bytes of a name that is cached. Default: 4,096. */
  maxName?: number | undefined;
  /** How many keys can be hot. Default: 64. */
  maxHot?: number | undefined;
  /** The width of the frequency sketch, a power of two. Default: 16,384. */
  width?: number | undefined;
  /** Returns a uniformly distributed integer of 32 bits. */
  random?: (() => number) | undefined;
}

/** The options with their defaults, and with times in microseconds. */
export interface Settings<K, V> extends LifetimeBounds {
  resolver: string;
  load: CacheOptions<K, V>['load'];
  name: CacheOptions<K, V>['name'];
  weigh: (value: V, key: K) => number;
  change: ((old: V, value: V) => number) | undefined;
  random: () => number;
  maxWeight: number;
  negativeTTL: number;
  grace: number;
  beta: number;
  maxLoads: number;
  loadTimeout: number;
  maxName: number;
  maxHot: number;
  width: number;
}

const DAY = 86_400_000;

/** Returns 0 for equal values and 65536 for different ones. */
export function changed(old: unknown, value: unknown): number {
  return Object.is(old, value) ? 0 : ONE;
}

/** Returns the options with defaults, after a check of their bounds. */
export function settingsOf<K, V>(options: CacheOptions<K, V>): Settings<K, V> {
  const { maxWeight, risk = 50, beta = 256, maxLoads = 256, loadTimeout = 10_000, maxName = 4096 } = options;
  const { maxHot = 64, width = 16_384, negativeTTL = 5000, grace = 0 } = options;
  const { minTTL = Math.min(1000, options.initialTTL ?? 1000, options.maxTTL ?? 1000) } = options;
  const { maxTTL = Math.max(300_000, minTTL, options.initialTTL ?? 0) } = options;
  const { initialTTL = Math.min(Math.max(10_000, minTTL), maxTTL) } = options;
  if (typeof options.load !== 'function' || typeof options.name !== 'function') {
    throw new CacheError('options', 'a cache must have the functions load and name');
  }
  within('maxWeight', maxWeight, 16, 2 ** 52);
  within('minTTL', minTTL, 1, DAY);
  within('initialTTL', initialTTL, minTTL, maxTTL);
  within('maxTTL', maxTTL, minTTL, DAY);
  within('negativeTTL', negativeTTL, 0, 3_600_000);
  within('grace', grace, 0, DAY);
  within('risk', risk, 1, 500);
  within('beta', beta, 0, 4096);
  within('maxLoads', maxLoads, 2, 65_536);
  within('loadTimeout', loadTimeout, 1, 3_600_000);
  within('maxName', maxName, 1, 65_536);
  within('maxHot', maxHot, 0, 1024);
  powerOfTwo('width', width);
  return {
    ...{ resolver: options.resolver, load: options.load, name: options.name, change: options.change },
    ...{ maxWeight, risk, beta, maxLoads, maxName, maxHot, width },
    weigh: options.weigh ?? (() => 1),
    random: options.random ?? (() => Math.floor(Math.random() * 2 ** 32)),
    minTTL: 1000 * minTTL,
    initialTTL: 1000 * initialTTL,
    maxTTL: 1000 * maxTTL,
    negativeTTL: 1000 * negativeTTL,
    grace: 1000 * grace,
    loadTimeout: 1000 * loadTimeout,
  };
}
