/** Windows, and the queue of entries that wait for the ledger. */

import { randomID } from '../bus.js';
import { asError, CacheError, within } from '../errors.js';
import { byteLength } from '../name.js';
import type { CacheStats } from '../stats.js';
import { abortable } from '../wait.js';
import { payloadOf } from './payload.js';
import type { Span } from './payload.js';

/** An entry that a reporter records. */
export interface MetricSnapshot {
  /** The kind of the entry. */
  kind: 'metric-snapshot';
  /** JSON, the same in each attempt. */
  payload: string;
  /** Identifies the entry, so that repeated attempts record it once. */
  idempotencyKey: string;
}

/**
 * Records an entry, as the method `append` of the class `Client` of
 * `@muniment/client` does. With policies, the client verifies each receipt
 * before the entry counts as recorded.
 */
export type Append = (entry: MetricSnapshot, call: { signal: AbortSignal }) => Promise<unknown>;

/** A cache of any type. */
export interface ReportedCache {
  /** Returns its counters. */
  stats: () => CacheStats;
}

/** The caches of a process by their resolvers, of 1 to 127 bytes each, or a `ResolverCaches`. */
export type ReportedCaches =
  | Readonly<Record<string, ReportedCache>>
  | {
      /** Returns the counters of each cache. */
      stats: () => Record<string, CacheStats>;
    };

/** The configuration of a reporter. */
export interface ReporterOptions {
  /** Records an entry. */
  append: Append;
  /** The name of the service that uses the caches, of 1 to 128 bytes. */
  service: string;
  /** The caches. */
  caches: ReportedCaches;
  /** The length of a window in milliseconds, from 1,000 to 86,400,000. Default: 300,000. */
  windowMs?: number;
  /** How many entries can wait for the ledger. Default: 1,024. */
  queue?: number;
}

/** The counters of a reporter. */
export interface ReporterStats {
  /** Entries that the ledger has. */
  recorded: number;
  /** Entries that it will never have. */
  lost: number;
  /** Entries in the queue. */
  waiting: number;
  /** The reason of the latest failed attempt or loss. */
  error: Error | undefined;
}

type Item = Pick<MetricSnapshot, 'payload' | 'idempotencyKey'>;

const FIRST_PAUSE = 1000; // after a failed attempt; doubled by each further one
const MAX_PAUSE = 60_000;
const CLOSE_LIMIT = 10_000;
const INVALID_ARGUMENT = 3; // the code of ConnectError
const CLOCK_ERROR = 10; // milliseconds by which the clocks may differ

/**
 * Records the windows of the caches of one process from its creation on. It
 * does not keep the process alive, and no read waits for it.
 */
export class Reporter {
  readonly #append: Append;
  readonly #service: string;
  readonly #stats: () => Record<string, CacheStats>;
  readonly #limit: number;
  readonly #instance = randomID(); // part of the idempotency keys
  readonly #end = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;

  #last: Record<string, CacheStats>;
  #cut = { wall: Date.now(), monotonic: performance.now() }; // the end of the last window
  #queue: Item[] = [];
  #numbered = 0;
  #recorded = 0;
  #lost = 0;
  #error: Error | undefined;
  #sending: Promise<void> | undefined;
  #resume: () => void = () => undefined; // ends a pause
  #closing: Promise<void> | undefined;

  /** @throws CacheError with the code `options`. */
  constructor({ append, service, caches, windowMs = 300_000, queue = 1024 }: ReporterOptions) {
    if (typeof append !== 'function') throw new CacheError('options', 'a reporter must have the function append');
    within('the length of service in bytes', byteLength(service), 1, 128);
    within('windowMs', windowMs, 1000, 86_400_000);
    this.#append = append;
    this.#service = service;
    this.#stats = readerOf(caches);
    this.#last = this.#stats();
    const names = Object.keys(this.#last);
    for (const name of names) checkResolver(name);
    within('queue', queue, Math.max(1, names.length), 2 ** 20);
    this.#limit = queue;
    this.#timer = setInterval(() => {
      this.#endWindow();
    }, windowMs);
    unref(this.#timer);
  }

  /** Adds an item for each cache to the queue. If there are too many, the oldest ones are lost. */
  #endWindow(): void {
    let now: Record<string, CacheStats>;
    try {
      now = this.#stats();
    } catch (error) {
      this.#error = asError(error, 'the function stats'); // the next window is longer
      return;
    }
    const span = this.#nextSpan();
    for (const [resolver, stats] of Object.entries(now)) {
      const idempotencyKey = `${this.#instance}/${++this.#numbered}`;
      try {
        checkResolver(resolver);
        this.#queue.push({ payload: payloadOf(span, resolver, this.#last[resolver], stats), idempotencyKey });
      } catch (error) {
        this.#lost++;
        this.#error = asError(error, `the payload about ${resolver}`);
      }
    }
    this.#last = now;
    const more = this.#queue.length - this.#limit;
    if (more > 0) {
      this.#queue.splice(0, more);
      this.#lost += more;
    }
    if (this.#queue.length > 0) this.#sending ??= this.#send();
  }

  /**
   * Returns the window that ends now. If the wall clock was set meanwhile, its
   * length is that of the monotonic clock.
   */
  #nextSpan(): Span {
    const [to, monotonic] = [Date.now(), performance.now()];
    const length = Math.max(1, Math.round(monotonic - this.#cut.monotonic));
    const isSteady = Math.abs(to - this.#cut.wall - length) <= CLOCK_ERROR && to > this.#cut.wall;
    const from = isSteady ? this.#cut.wall : to - length;
    this.#cut = { wall: to, monotonic };
    return { service: this.#service, from, to, lost: this.#lost };
  }

  /** Records items in the order of their windows, until there is none. */
  async #send(): Promise<void> {
    for (let item = this.#queue.shift(); item !== undefined; item = this.#queue.shift()) await this.#record(item);
    this.#sending = undefined;
  }

  /**
   * Repeats an item until the ledger has it or refuses it, or the reporter has
   * ended. The bytes and the key are always the same, so it is recorded once.
   */
  async #record(item: Item): Promise<void> {
    const { signal } = this.#end;
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, MAX_PAUSE)) {
      try {
        await abortable(signal, this.#attempt(item, signal));
        this.#recorded++;
        return;
      } catch (error) {
        // That the attempt was cancelled is no reason, if there was one before.
        if (!signal.aborted || this.#error === undefined) this.#error = asError(error, 'the function append');
        if (signal.aborted || isInvalid(error)) {
          this.#lost++;
          return;
        }
      }
      await this.#pause(pause);
    }
  }

  async #attempt(item: Item, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.#append({ kind: 'metric-snapshot', ...item }, { signal });
  }

  async #pause(milliseconds: number): Promise<void> {
    if (this.#end.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      if (this.#closing === undefined) unref(timer); // close waits for it
      this.#resume = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Returns what the reporter has done so far. */
  stats(): ReporterStats {
    return { recorded: this.#recorded, lost: this.#lost, waiting: this.#queue.length, error: this.#error };
  }

  /**
   * Ends the window in progress, waits until the queue is empty or the signal
   * is aborted, and stops the reporter. Default: 10 seconds.
   *
   * @throws CacheError with the code `not-recorded` if the ledger lacks
   * entries, of any window since the start.
   */
  async close(signal: AbortSignal = AbortSignal.timeout(CLOSE_LIMIT)): Promise<void> {
    this.#closing ??= this.#finish(signal);
    await this.#closing;
    if (this.#lost === 0) return;
    const reason = this.#error === undefined ? '' : `: ${this.#error.message}`;
    const message = `windows were not recorded in the ledger: ${this.#lost} of ${this.#lost + this.#recorded} entries`;
    throw new CacheError('not-recorded', message + reason, { cause: this.#error });
  }

  async #finish(signal: AbortSignal): Promise<void> {
    clearInterval(this.#timer);
    this.#endWindow();
    this.#resume();
    const stop = () => {
      this.#end.abort();
      this.#resume();
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    await this.#sending;
    signal.removeEventListener('abort', stop);
  }
}

/** Returns a function that reads the counters of all caches. */
function readerOf(caches: ReportedCaches): () => Record<string, CacheStats> {
  const { stats } = caches;
  if (typeof stats === 'function') return () => stats.call(caches);
  const all = Object.entries(caches as Readonly<Record<string, ReportedCache>>);
  if (all.length === 0) throw new CacheError('options', 'a reporter must have at least one cache');
  return () => Object.fromEntries(all.map(([name, cache]) => [name, cache.stats()]));
}

function checkResolver(name: string): void {
  within(`the length of the resolver ${JSON.stringify(name)} in bytes`, byteLength(name), 1, 127);
}

/** Reports whether the ledger has refused an entry for ever. */
function isInvalid(error: unknown): boolean {
  return error instanceof Error && error.name === 'ConnectError' && 'code' in error && error.code === INVALID_ARGUMENT;
}

/** Lets the process end although a timer is pending. Timers of browsers never keep a page. */
function unref(timer: unknown): void {
  (timer as { unref?: () => void }).unref?.();
}
