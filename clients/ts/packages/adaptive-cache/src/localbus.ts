/** A bus within one process. */

import { DEFAULT_LEASE, monotonic, randomID } from './bus.js';
import type { Bus, Grant, Poll } from './bus.js';
import { within } from './errors.js';
import { Sequencer } from './sequencer.js';
import { Bell } from './wait.js';

/** The configuration of a bus. */
export interface BusOptions {
  /** The lease of members in milliseconds, from 16 to 60,000. Default: 3,000. */
  lease?: number;
  /** How many messages a member may lag behind, at most 2^20. Default: 4,096. */
  window?: number;
  /** A monotonic clock in whole microseconds. Default: that of the process. */
  clock?: () => number;
}

/** Connects the members of one process. */
export class LocalBus implements Bus {
  readonly #lease: number;
  readonly #clock: () => number;
  readonly #sequencer: Sequencer;
  readonly #ordered = new Bell();
  readonly #acknowledged = new Bell();

  /** @throws {@link CacheError} with the code `options`. */
  constructor(options: BusOptions = {}, /** @internal */ isFirst = true) {
    const { lease = DEFAULT_LEASE, window = 4096, clock = monotonic() } = options;
    within('lease', lease, 16, 60_000);
    within('window', window, 1, 2 ** 20);
    this.#lease = lease;
    this.#clock = clock;
    this.#sequencer = new Sequencer(randomID(), 1000 * lease, window, clock(), isFirst);
  }

  /** Implements {@link Bus}. */
  async poll(poll: Poll, signal: AbortSignal): Promise<Grant> {
    const { grant, mayWait } = this.#sequencer.poll(poll, this.#clock());
    this.#acknowledged.ring();
    if (!mayWait) return grant;
    await this.#ordered.wait(this.#lease / 4, signal);
    signal.throwIfAborted();
    return this.#sequencer.poll(poll, this.#clock()).grant;
  }

  /** Implements {@link Bus}. */
  async invalidate(tags: readonly string[], signal?: AbortSignal): Promise<void> {
    const seq = this.#sequencer.invalidate(tags);
    this.#ordered.ring();
    for (;;) {
      signal?.throwIfAborted();
      const now = this.#clock();
      const until = this.#sequencer.completes(seq, now);
      if (until === 0) return;
      await this.#acknowledged.wait(Math.ceil((until - now) / 1000), signal);
    }
  }
}
