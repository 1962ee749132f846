/**
 * A cache that serves nothing stale: lifetimes follow the data, hot keys stay,
 * and misses are loaded once.
 */

export type { Bus, Grant, Message, Poll } from './bus.js';
export { Cache } from './cache.js';
export type { Outcome, ReadReport } from './cache.js';
export { CacheError } from './errors.js';
export type { CacheErrorCode } from './errors.js';
export { LocalBus } from './localbus.js';
export type { BusOptions } from './localbus.js';
export { Member } from './member.js';
export type { MemberOptions, MemberStats } from './member.js';
export { nameOf, privateScope, resolverTag } from './name.js';
export { changed } from './options.js';
export type { CacheOptions, LoadContext, Loaded } from './options.js';
export type { CacheStats, Counters, Estimates } from './stats.js';
export type { Waits } from './waits.js';
