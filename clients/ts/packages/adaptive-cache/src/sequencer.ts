/** The state of a bus: section 5 of the specification. */

import { areWhole, MAX_ID_BYTES, MAX_MEMBERS } from './bus.js';
import type { Grant, Message, Poll } from './bus.js';
import { exceeds } from './name.js';

/**
 * Orders messages and keeps the leases of members. It has no clock and no
 * network of its own. Times are in microseconds.
 */
export class Sequencer {
  #head = 0;
  #log: Message[] = [];
  readonly #members = new Map<string, { acked: number; leaseEnd: number }>();
  readonly #opened: number;

  /**
   * A sequencer that starts at `now`. The epoch must never have been used
   * before. If there was no earlier sequencer, it is open from the start.
   */
  constructor(
    readonly epoch: string,
    private readonly lease: number,
    private readonly window: number,
    now: number,
    isFirst: boolean,
  ) {
    this.#opened = isFirst ? now : now + longer(lease);
  }

  /** Answers a poll, and reports whether the answer may wait for a message. */
  poll(poll: Poll, now: number): { grant: Grant; mayWait: boolean } {
    if (poll.member === '' || exceeds(poll.member, MAX_ID_BYTES)) {
      throw new Error(`a member's identifier must have 1 to ${MAX_ID_BYTES} bytes`);
    }
    const member = this.#members.get(poll.member) ?? this.#add(poll.member, now);
    member.leaseEnd = Math.max(member.leaseEnd, now + longer(this.lease));
    const oldest = this.#head - this.#log.length;
    if (poll.epoch !== this.epoch || poll.applied > this.#head || poll.applied < oldest) {
      // Nothing is acknowledged: the member may hold a lease, and this poll may
      // be a late copy whose answer it never gets.
      return { grant: { epoch: this.epoch, head: this.#head, reset: true }, mayWait: false };
    }
    member.acked = Math.max(member.acked, poll.applied);
    const messages = this.#log.slice(poll.applied - oldest);
    return {
      grant: { epoch: this.epoch, head: this.#head, reset: false, messages },
      mayWait: poll.applied === this.#head,
    };
  }

  #add(id: string, now: number) {
    for (const [other, { leaseEnd }] of this.#members) if (now > leaseEnd) this.#members.delete(other);
    if (this.#members.size >= MAX_MEMBERS) throw new Error(`more than ${MAX_MEMBERS} members: close some`);
    const member = { acked: 0, leaseEnd: 0 };
    this.#members.set(id, member);
    return member;
  }

  /** Orders a message and returns its number. */
  invalidate(tags: readonly string[]): number {
    if (!areWhole(tags)) throw new Error('an invalidation must have 1 to 64 tags of 1 to 256 bytes');
    this.#head++;
    this.#log.push({ seq: this.#head, tags: [...tags] });
    if (this.#log.length > this.window) this.#log.shift();
    return this.#head;
  }

  /**
   * Returns 0 if a message is complete at `now`, or else the time at which it
   * completes without further acknowledgements.
   */
  completes(seq: number, now: number): number {
    let until = now < this.#opened ? this.#opened : 0;
    for (const { acked, leaseEnd } of this.#members.values()) {
      if (acked < seq && now <= leaseEnd) until = Math.max(until, leaseEnd + 1);
    }
    return until;
  }
}

/**
 * Returns the term of a lease on the sequencer's clock, which may be faster
 * than the member's.
 */
export function longer(lease: number): number {
  return Math.floor((9 * lease) / 8);
}
