/** A process's part in invalidation: section 5 of the specification. */

import { areWhole, follows, MAX_MESSAGE_TAGS, monotonic, parseGrant, randomID } from './bus.js';
import type { Bus, Message, Poll } from './bus.js';
import { DEFAULT_LEASE } from './bus.js';
import { CacheError, powerOfTwo, within } from './errors.js';
import { Generations } from './generations.js';
import { shortTags } from './name.js';
import { abortable, limited, pause } from './wait.js';

/** The configuration of a member. Durations are in milliseconds. */
export interface MemberOptions {
  /** Connects to the other members. Without one, the member is alone. */
  bus?: Bus;
  /** The same as that of the bus, from 16 to 60,000. Default: 3,000. */
  lease?: number;
  /**
   * How old a load may be while the bus cannot be reached, at most an hour.
   * With 0, which is the default, nothing is cached then.
   */
  detachedAge?: number;
  /** How many generations it keeps, a power of two. Default: 65,536. */
  slots?: number;
  /** A monotonic clock in whole microseconds. Default: that of the process. */
  clock?: () => number;
  /** The seed of hashes. Default: a random one. */
  seed?: number;
}

/** The counters of a member. */
export interface MemberStats {
  /** Whether it holds a lease. */
  attached: boolean;
  /** Grants that renewed the lease. */
  grants: number;
  /** Grants that contradicted earlier ones, or had no valid form. */
  ignoredGrants: number;
  /** Polls without an answer. */
  failedPolls: number;
  /** Messages that flushed the caches because their form was not valid. */
  damagedMessages: number;
  /** How often all entries were invalidated. */
  flushes: number;
  /** The invalidations applied here, flushes included. */
  invalidations: number;
}

/** A process's part in invalidation. All caches of a process share one. */
export class Member {
  /** @internal */
  readonly generations: Generations;
  /** The clock, in whole microseconds. */
  readonly clock: () => number;
  /** @internal */
  epoch = '';
  /** @internal */
  applied = 0;
  /** @internal */
  leaseEnd = 0;

  readonly #bus: Bus | undefined;
  readonly #id = randomID();
  readonly #lease: number;
  readonly #detachedAge: number;
  readonly #end = new AbortController();
  readonly #polls: Promise<void>;
  readonly #counts = { grants: 0, ignoredGrants: 0, failedPolls: 0, damagedMessages: 0, flushes: 0 };
  #adopted = 0;

  /** @throws {@link CacheError} with the code `options`. */
  constructor(options: MemberOptions = {}) {
    const { bus, lease = DEFAULT_LEASE, detachedAge = 0, slots = 65_536 } = options;
    const { seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0, clock = monotonic() } = options;
    within('lease', lease, 16, 60_000);
    within('detachedAge', detachedAge, 0, 3_600_000);
    powerOfTwo('slots', slots);
    this.#bus = bus;
    this.#lease = 1000 * lease;
    this.#detachedAge = 1000 * detachedAge;
    this.clock = clock;
    this.generations = new Generations(slots, seed);
    this.#polls = bus === undefined ? Promise.resolve() : this.#poll(bus);
  }

  /** Ends the polls, and waits for the last one. Without them, the lease runs out. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#polls;
  }

  async #poll(bus: Bus): Promise<void> {
    const { signal } = this.#end;
    const lease = this.#lease / 1000;
    while (!signal.aborted) {
      const sent = this.clock();
      const poll: Poll = { member: this.#id, epoch: this.epoch, applied: this.applied };
      let isRenewed = false;
      try {
        const grant = await limited(Math.ceil(lease / 2), signal, (s) => bus.poll(poll, s));
        isRenewed = this.grant(grant, sent);
      } catch {
        this.#counts.failedPolls++;
      }
      if (!isRenewed) await pause(lease / 16, signal);
    }
  }

  /**
   * Processes the answer to a poll that was sent at the given time. Reports
   * whether it renewed the lease.
   *
   * @internal
   */
  grant(answer: unknown, sent: number): boolean {
    const grant = parseGrant(answer);
    const isOther = grant?.epoch !== this.epoch;
    if (grant === undefined || (isOther && this.epoch !== '' && sent < this.#adopted)) {
      this.#counts.ignoredGrants++;
      return false;
    }
    if (grant.reset || isOther) {
      this.#flush();
      this.epoch = grant.epoch;
      this.applied = grant.head;
      if (isOther) this.#adopted = this.clock();
    } else if (follows(grant, this.applied)) {
      for (const message of grant.messages ?? []) this.#apply(message);
    } else {
      this.#counts.ignoredGrants++;
      return false;
    }
    this.#counts.grants++;
    this.leaseEnd = sent + this.#lease;
    return true;
  }

  #apply({ seq, tags }: Message): void {
    if (seq <= this.applied) return;
    if (areWhole(tags)) {
      this.generations.apply(tags);
    } else {
      this.#counts.damagedMessages++;
      this.#flush();
    }
    this.applied = seq;
  }

  #flush(): void {
    this.#counts.flushes++;
    this.generations.flush();
  }

  /** Reports whether the member holds a lease at a time. */
  isAttached(now: number): boolean {
    return this.#bus === undefined || (now < this.leaseEnd && now >= this.leaseEnd - this.#lease);
  }

  /**
   * Reports whether a read at `now` may use a load that began at `started`, if
   * its result is live.
   *
   * @internal
   */
  allows(now: number, started: number): boolean {
    return this.isAttached(now) || (started <= now && now < started + this.#detachedAge);
  }

  /**
   * Ends the life of all entries with one of the tags, in every process. Call
   * it after the change of the origin. Once it has returned, no read that
   * begins later returns a value from before the call. After an error, other
   * processes may serve such values until their lifetime ends: repeat it.
   *
   * @throws {@link CacheError} with the code `not-confirmed`.
   */
  async invalidate(tags: Iterable<string>, signal?: AbortSignal): Promise<void> {
    const short = shortTags(tags);
    if (short.length === 0) return;
    this.generations.apply(short);
    if (this.#bus === undefined) return;
    for (let i = 0; i < short.length; i += MAX_MESSAGE_TAGS) {
      try {
        await abortable(signal, this.#bus.invalidate(short.slice(i, i + MAX_MESSAGE_TAGS), signal));
      } catch (cause) {
        const message = `invalidate ${short.length} tags: not confirmed by the bus: repeat it`;
        throw new CacheError('not-confirmed', message, { cause });
      }
    }
  }

  /** Returns the counters. */
  stats(): MemberStats {
    return { ...this.#counts, attached: this.isAttached(this.clock()), invalidations: this.generations.applied };
  }
}
