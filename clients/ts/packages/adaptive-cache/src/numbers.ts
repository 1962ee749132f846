/** The integer arithmetic of sections 8 and 9. All results are below 2^53. */

/** 1, in the units of fractions. */
export const ONE = 65_536;

const LARGEST_EXPONENTIAL = 1_453_632;
const MAX_LATENCY = 2 ** 36 - 1;
/** The number of buckets of durations. */
export const BUCKETS = 16 + 8 * 32;
const LONGEST_AGE = 86_400_000;

/** Returns the integer part of log2 of a positive integer below 2^53. */
function log2(x: number): number {
  return x < 2 ** 32 ? 31 - Math.clz32(x) : 63 - Math.clz32(Math.floor(x / 2 ** 32));
}

/** Returns -ln((draw+1)/2^32) in units of 1/65536. */
export function exponential(draw: number): number {
  const x = draw + 1;
  const k = log2(x);
  let m = Math.floor((x * 2 ** 25) / 2 ** k);
  let f = 0;
  for (let i = 0; i < 16; i++) {
    m = Math.floor((m * m) / 2 ** 25);
    f *= 2;
    if (m >= 2 ** 26) {
      f++;
      m = Math.floor(m / 2);
    }
  }
  return Math.floor(((2_097_152 - ONE * k - f) * 45_426) / ONE);
}

/** Returns how long before its end an entry can be refreshed early at most. */
export function longestGap(delta: number, beta: number): number {
  return Math.floor((Math.floor((delta * beta) / 256) * LARGEST_EXPONENTIAL) / ONE);
}

/**
 * Reports whether a hit at `now` refreshes an entry early, by XFetch. It draws
 * only if the answer depends on chance.
 */
export function refreshes(now: number, expires: number, delta: number, beta: number, draw: () => number): boolean {
  if (now + longestGap(delta, beta) < expires) return false;
  return now + Math.floor((Math.floor((delta * beta) / 256) * exponential(draw())) / ONE) >= expires;
}

/** Returns the integer square root of an integer below 2^53. */
export function isqrt(x: number): number {
  let r = Math.floor(Math.sqrt(x));
  while (r * r > x) r--;
  while ((r + 1) * (r + 1) <= x) r++;
  return r;
}

/** Returns the bucket of a duration in microseconds. */
export function bucket(duration: number): number {
  const v = Math.min(Math.max(duration, 0), MAX_LATENCY);
  if (v < 16) return v;
  const e = log2(v);
  return 16 + 8 * (e - 4) + (Math.floor(v / 2 ** (e - 3)) % 8);
}

/** Returns the largest duration in a bucket. */
export function upperEnd(i: number): number {
  if (i < 16) return i;
  const e = 4 + Math.floor((i - 16) / 8);
  return (8 + ((i - 16) % 8) + 1) * 2 ** (e - 3) - 1;
}

/** Counts durations in microseconds, recent ones more than old ones. */
export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #total = 0;

  /** Counts a duration. */
  add(duration: number): void {
    const i = bucket(duration);
    this.#counts[i] = (this.#counts[i] ?? 0) + 1;
    this.#total++;
    if (this.#total < 1024) return;
    this.#total = 0;
    this.#counts.forEach((count, at) => {
      this.#counts[at] = count >>> 1;
      this.#total += count >>> 1;
    });
  }

  /** Returns the `p` % quantile, or 0 without durations. */
  quantile(p: 95 | 99): number {
    let c = 0;
    for (let i = 0; i < BUCKETS; i++) {
      c += this.#counts[i] ?? 0;
      if (this.#total > 0 && 100 * c >= p * this.#total) return upperEnd(i);
    }
    return 0;
  }
}

/** Summarizes how much values change, and in which time. */
export class ChangeRecord {
  /** The number of comparisons. */
  n = 0;
  /** The sum of changes. */
  c = 0;
  /** The sum of their squares. */
  d = 0;
  /** The sum of ages, in milliseconds. */
  a = 0;

  /** Adds a change, from 0 to 65536, over an age in microseconds. */
  observe(age: number, change: number): void {
    const c = Math.min(Math.max(change, 0), ONE);
    this.n++;
    this.c += c;
    this.d += Math.floor((c * c) / ONE);
    this.a += Math.min(Math.max(Math.floor(age / 1000), 1), LONGEST_AGE);
    if (this.n < 256) return;
    this.n = Math.floor(this.n / 2);
    this.c = Math.floor(this.c / 2);
    this.d = Math.floor(this.d / 2);
    this.a = Math.floor(this.a / 2);
  }
}

/** The bounds of lifetimes in microseconds, and the risk in per mille. */
export interface LifetimeBounds {
  minTTL: number;
  initialTTL: number;
  maxTTL: number;
  risk: number;
}

/** Returns the lifetime of a value that has just been loaded, before it is shortened. */
export function baseLifetime(bounds: LifetimeBounds, record: ChangeRecord, p95: number): number {
  let ttl = bounds.initialTTL;
  if (record.n >= 8) {
    const variance = Math.max(0, record.d - Math.floor((record.c * record.c) / (ONE * record.n)));
    const changes = record.c + isqrt(ONE * variance) + ONE;
    ttl = 1000 * Math.floor((ONE * Math.floor((record.a * bounds.risk) / 1000)) / changes);
  }
  return Math.min(Math.max(ttl, 20 * p95, bounds.minTTL), bounds.maxTTL);
}

/**
 * Returns a lifetime reduced by at most an eighth, so that entries that were
 * loaded together don't expire together.
 */
export function shortened(ttl: number, draw: number): number {
  return ttl - Math.floor((ttl * (draw >>> 19)) / ONE);
}
