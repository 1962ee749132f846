/**
 * A bus over Redis or Valkey.
 */

import { DEFAULT_LEASE, MAX_MEMBERS, MAX_MESSAGE_TAGS, monotonic, randomID } from '../bus.js';
import type { Bus, Grant, Message, Poll } from '../bus.js';
import { within } from '../errors.js';
import type { BusOptions } from '../localbus.js';
import { MAX_TAG_BYTES } from '../name.js';
import { longer } from '../sequencer.js';
import { Bell } from '../wait.js';
import { invalidateScript, pollScript, statusScript } from './scripts.js';

/** What the bus uses of a client of the package `redis`. */
export interface RedisClient {
  /** Runs a script. */
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  /** Returns a client with the same configuration. */
  duplicate(): RedisSubscriber;
}

/** What the bus uses of a client that receives messages. */
export interface RedisSubscriber {
  /** Connects to the server. */
  connect(): Promise<unknown>;
  /** Calls the listener for each message of a channel. */
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
  /** Calls the listener for each error of the connection. */
  on(event: 'error', listener: (error: Error) => void): unknown;
  /** Ends the connection. */
  destroy(): void;
}

/** The configuration of a bus over Redis. */
export interface RedisBusOptions extends BusOptions {
  /** The beginning of the names of its keys and its channel. Default: `adaptive-cache`. */
  prefix?: string;
}

const LONGEST_MESSAGE = MAX_MESSAGE_TAGS * (6 * MAX_TAG_BYTES + 3) + 2; // in JSON

/**
 * Connects members over one server of Redis 7 or Valkey, whose scripts are the
 * sequencer. A restart of the server flushes the caches, and so does the loss
 * of its keys. With replicas, a server that is cut off must refuse writes
 * before another one takes its place: set `min-replicas-to-write`.
 */
export class RedisBus implements Bus {
  readonly #client: RedisClient;
  readonly #subscriber: RedisSubscriber;
  readonly #keys: [state: string, log: string, channel: string];
  readonly #lease: number;
  readonly #window: number;
  readonly #clock: () => number;
  readonly #ordered = new Bell();
  readonly #acknowledged = new Bell();
  #epoch = '';
  #epochSeen = 0;

  private constructor(client: RedisClient, options: RedisBusOptions) {
    const { lease = DEFAULT_LEASE, window = 4096, clock = monotonic(), prefix = 'adaptive-cache' } = options;
    within('lease', lease, 16, 60_000);
    within('window', window, 1, 2 ** 12); // an answer of Redis has at most 8,000 of them
    this.#client = client;
    this.#subscriber = client.duplicate();
    this.#keys = [`{${prefix}}:state`, `{${prefix}}:log`, `{${prefix}}:events`];
    [this.#lease, this.#window, this.#clock] = [lease, window, clock];
  }

  /**
   * Returns a bus that uses a connected client, and a second connection of its
   * own for events.
   *
   * @throws CacheError with the code `options`, and errors of the client.
   */
  static async connect(client: RedisClient, options: RedisBusOptions = {}): Promise<RedisBus> {
    const bus = new RedisBus(client, options);
    // While it is not connected, members poll at intervals.
    bus.#subscriber.on('error', () => undefined);
    await bus.#subscriber.connect();
    await bus.#subscriber.subscribe(bus.#keys[2], (event) => {
      (event === 'ordered' ? bus.#ordered : bus.#acknowledged).ring();
    });
    return bus;
  }

  /** Ends the connection for events. Close the members first. */
  close(): void {
    this.#subscriber.destroy();
  }

  async #run(script: string, args: readonly (string | number)[]): Promise<unknown[]> {
    const answer = await this.#client.eval(script, { keys: [...this.#keys], arguments: args.map(String) });
    if (!Array.isArray(answer) || typeof answer[0] !== 'string') throw new Error('unexpected answer of a script');
    this.#see(answer[0]);
    return answer as unknown[];
  }

  /** The arguments that both scripts begin with. */
  #common(): (string | number)[] {
    return [randomID(), this.#lease, this.#window];
  }

  /** Remembers when an epoch was first seen. */
  #see(epoch: string): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#epochSeen = this.#clock();
  }

  /** Implements {@link Bus}. */
  async poll(poll: Poll, signal: AbortSignal): Promise<Grant> {
    const { rings } = this.#ordered;
    const grant = await this.#poll(poll);
    const isCurrent = !grant.reset && grant.messages?.length === 0;
    if (!isCurrent || signal.aborted) return grant;
    if (this.#ordered.rings === rings) await this.#ordered.wait(this.#lease / 4, signal);
    return await this.#poll(poll);
  }

  async #poll({ member, epoch, applied }: Poll): Promise<Grant> {
    const answer = await this.#run(pollScript, [...this.#common(), member, epoch, applied, MAX_MEMBERS]);
    const [name, head, reset, ...log] = answer;
    const first = Number(head) - log.length + 1;
    const messages = log.map((text, i): Message => ({ seq: first + i, tags: parseTags(text) }));
    return { epoch: String(name), head: Number(head), reset: reset === 1, messages };
  }

  /** Implements {@link Bus}. */
  async invalidate(tags: readonly string[], signal?: AbortSignal): Promise<void> {
    for (let isLost = true; isLost;) {
      const [epoch, seq] = await this.#run(invalidateScript, [...this.#common(), JSON.stringify(tags)]);
      // A new epoch does not have the message, so it is ordered again.
      isLost = await this.#isLost(String(epoch), Number(seq), signal);
    }
  }

  /**
   * Waits until each member has acknowledged a message or has lost its lease.
   * Reports whether the server has lost the message.
   */
  async #isLost(epoch: string, seq: number, signal: AbortSignal | undefined): Promise<boolean> {
    const term = longer(1000 * this.#lease);
    const seen = new Map<string, { polls: string; at: number }>();
    for (;;) {
      signal?.throwIfAborted();
      const { rings } = this.#acknowledged;
      const now = this.#clock();
      const ended = [...seen].filter(([, { at }]) => now > at + term);
      const isOpen = epoch === this.#epoch && now > this.#epochSeen + term;
      const forget = ended.flatMap(([member, { polls }]) => [member, polls]);
      const [name, open, ...members] = await this.#run(statusScript, [seq, isOpen ? epoch : '', ...forget]);
      if (name !== epoch) return true;
      if (open === 1 && members.length === 0) return false;
      const since = this.#clock(); // after the answer: each of its polls was before
      for (let i = 0; i < members.length; i += 2) {
        const [member, polls] = [String(members[i]), String(members[i + 1])];
        if (seen.get(member)?.polls !== polls) seen.set(member, { polls, at: since });
      }
      if (this.#acknowledged.rings === rings) await this.#acknowledged.wait(this.#lease / 16, signal);
    }
  }
}

/**
 * Returns the tags of a message. Damaged ones are an empty list, which flushes
 * the caches.
 */
function parseTags(text: unknown): readonly string[] {
  if (typeof text !== 'string' || text.length > LONGEST_MESSAGE) return [];
  try {
    return JSON.parse(text) as readonly string[];
  } catch {
    return [];
  }
}
