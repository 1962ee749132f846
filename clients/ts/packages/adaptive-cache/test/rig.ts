/** Caches over an origin that tests control. */

import type { Bus, CacheOptions, Loaded } from '../src/index.js';
import { Cache, Member, nameOf } from '../src/index.js';

/** A clock that a test sets, in microseconds. */
export class Clock {
  now = 1_000_000;
  readonly read = () => this.now;
}

/** A bus that never answers. */
export const silent: Bus = {
  poll: async () => await new Promise<never>(() => undefined),
  invalidate: async () => await new Promise<never>(() => undefined),
};

/** Returns a cache of strings whose loads are counted. */
export function cacheOf(
  load: (key: string) => Loaded<string, unknown> | Promise<Loaded<string, unknown>>,
  options: Partial<CacheOptions<string, unknown>> = {},
  member = new Member(),
) {
  const loads: string[] = [];
  const cache = new Cache<string, unknown>(member, {
    resolver: 'r',
    name: (key) => nameOf('r', '', key),
    maxWeight: 1000,
    load: (key) => {
      loads.push(key);
      return load(key);
    },
    ...options,
  });
  return { cache, loads, member };
}

/** A promise that a test fulfils. */
export function gate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}
