/** The messages of a bus: section 5 of the specification. */

import { exceeds, MAX_TAG_BYTES } from './name.js';

/** The most tags of a message. */
export const MAX_MESSAGE_TAGS = 64;
/** The most bytes of an epoch, and of the identifier of a member. */
export const MAX_ID_BYTES = 64;
/** The most members of a sequencer. */
export const MAX_MEMBERS = 4096;
/** The lease of members in milliseconds, unless options have another one. */
export const DEFAULT_LEASE = 3000;

/** The message of a member to the sequencer. */
export interface Poll {
  /** The member's identifier. */
  member: string;
  /** Empty until the first grant. */
  epoch: string;
  /** The number of the last message that the member has applied. */
  applied: number;
}

/** One invalidation. */
export interface Message {
  /** Its number, from 1. */
  seq: number;
  /** What it invalidates. */
  tags: readonly string[];
}

/** The answer to a poll, which renews the lease of the member. */
export interface Grant {
  /** The name of the sequencer's state. */
  epoch: string;
  /** The number of the last message. */
  head: number;
  /** Messages are missing: the member flushes. */
  reset: boolean;
  /** The messages after the one that the member has applied. */
  messages?: readonly Message[];
}

/**
 * A bus orders invalidations, delivers them to members, and grants leases. It
 * connects members to one sequencer, whose rules are in section 5 of the
 * specification. Messages may get lost, repeated and reordered.
 */
export interface Bus {
  /**
   * Acknowledges the messages up to `poll.applied`, and returns the messages
   * after it. If there are none, it may wait for a quarter of the lease.
   */
  poll(poll: Poll, signal: AbortSignal): Promise<Grant>;
  /**
   * Orders one message with these tags. The promise is fulfilled as soon as
   * each member has acknowledged the message or has lost its lease.
   */
  invalidate(tags: readonly string[], signal?: AbortSignal): Promise<void>;
}

/** Reports whether the tags of a message are as the specification requires. */
export function areWhole(tags: unknown): tags is readonly string[] {
  if (!Array.isArray(tags) || tags.length === 0 || tags.length > MAX_MESSAGE_TAGS) return false;
  return tags.every((tag) => typeof tag === 'string' && tag !== '' && !exceeds(tag, MAX_TAG_BYTES));
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Returns a grant of untrusted form, or undefined if it has another form. */
export function parseGrant(value: unknown): Grant | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { epoch, head, reset, messages = [] } = value as Record<string, unknown>;
  if (typeof epoch !== 'string' || epoch === '' || exceeds(epoch, MAX_ID_BYTES)) return undefined;
  if (!isCount(head) || typeof reset !== 'boolean') return undefined;
  const list: unknown = messages ?? [];
  if (!Array.isArray(list)) return undefined;
  const numbered = (list as unknown[]).every((m) => typeof m === 'object' && m !== null && isCount((m as Message).seq));
  return numbered ? { epoch, head, reset, messages: list as Message[] } : undefined;
}

/** Reports whether the messages of a grant continue those up to `applied`. */
export function follows(grant: Grant, applied: number): boolean {
  const messages = grant.messages ?? [];
  const first = messages[0];
  if (first === undefined) return grant.head <= applied;
  if (first.seq === 0 || first.seq > applied + 1) return false;
  return messages.every(({ seq }, i) => seq === first.seq + i) && messages.at(-1)?.seq === grant.head;
}

/** Returns a random text that no other process has. */
export function randomID(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

/** Returns a monotonic clock in whole microseconds. */
export function monotonic(): () => number {
  return () => Math.floor(performance.now() * 1000);
}
