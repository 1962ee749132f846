/** The counters of a cache. */

import type { Waits } from './waits.js';

/** A snapshot of a cache's counters and estimates. */
export interface CacheStats extends Readonly<Counters>, Estimates {
  /** How long reads have waited for the origin. */
  readonly waits: Waits;
  /** The invalidations that the member has applied, also those for its other caches. */
  readonly invalidations: number;
}

/** What a cache holds and has learned. Times are in microseconds. */
export interface Estimates {
  /** How often a key became hot. */
  readonly promotions: number;
  /** How often a key ceased to be hot. */
  readonly demotions: number;
  /** Entries removed because of the weight. */
  readonly evictions: number;
  /** Entries in memory, dead ones included. */
  readonly entries: number;
  /** Their weight, hot keys included. */
  readonly weight: number;
  /** Hot keys. */
  readonly hot: number;
  /** The weight of their entries. */
  readonly hotWeight: number;
  /** Loads whose loader has not returned. */
  readonly running: number;
  /** The lifetime of the last value. */
  readonly ttl: number;
  /** The 95 % quantile of the durations of loads. */
  readonly p95: number;
  /** The 99 % quantile of the durations of loads. */
  readonly p99: number;
}

/** What reads and loads count. */
export interface Counters {
  /** Reads answered by an entry within its lifetime. */
  hits: number;
  /** Of these, reads answered by an absence. */
  negativeHits: number;
  /** Reads answered within the grace after the lifetime. */
  lateHits: number;
  /** Reads that waited for a load. */
  misses: number;
  /** Times a read waited for the load of another one. */
  joined: number;
  /** Times a read loaded again because of an invalidation. */
  repeated: number;
  /** Reads of keys without a name, or with too long a one. */
  uncacheable: number;
  /** Calls of the loader. */
  loads: number;
  /** Loads that ended with an error. */
  failed: number;
  /** Loads that took too long. */
  timedOut: number;
  /** Loads refused because too many were running. */
  overloaded: number;
  /** Loads for entries that were about to expire. */
  refreshes: number;
  /** Loads of edges. */
  prefetches: number;
  /** Refreshes and prefetches that had no place. */
  omitted: number;
  /** Results not stored because of an invalidation. */
  rejected: number;
  /** Misses that found an entry which they were not allowed to use. */
  refused: number;
  /** Loaded values that were compared with the entry in memory. */
  compared: number;
  /** Of these, values that had changed without an invalidation. */
  differed: number;
  /** Times lifetimes became longer. */
  ttlRaised: number;
  /** Times lifetimes became shorter. */
  ttlLowered: number;
}

/** Counters at the start. */
export const zeroCounters = (): Counters => ({
  hits: 0,
  negativeHits: 0,
  lateHits: 0,
  misses: 0,
  joined: 0,
  repeated: 0,
  uncacheable: 0,
  loads: 0,
  failed: 0,
  timedOut: 0,
  overloaded: 0,
  refreshes: 0,
  prefetches: 0,
  omitted: 0,
  rejected: 0,
  refused: 0,
  compared: 0,
  differed: 0,
  ttlRaised: 0,
  ttlLowered: 0,
});
