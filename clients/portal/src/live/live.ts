/**
 * Live updates: the stream of new entries makes answers stale, so that views
 * fetch them again. One stream serves the page, in whatever view it is.
 */

import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { useSyncExternalStore } from 'react';
import { queries } from '../api/queries';
import { transport } from '../api/transport';
import { LedgerService, type Entry } from '../gen/muniment/v1/ledger_pb';

/**
 * - live: the page shows every entry as it is published
 * - reconnecting: the connection was lost, and is being made again
 * - stale: that has failed for a while, so what is shown may be old
 * - off: there is no session, or its role does not allow to read entries
 */
export type LiveState = 'live' | 'reconnecting' | 'stale' | 'off';

export interface Live {
  state: LiveState;
  /** When the server was last heard, in milliseconds since 1970. */
  heard: number | undefined;
}

/** A server that sends nothing for so long is not heard. It sends at least every 15 s. */
const silence = 40_000;
/** Queries are fetched again at most so often, however many entries arrive. */
const pace = 2_000;
const longestWait = 30_000;

/** Follows the log of a tenant. */
export class Follower {
  #live: Live = { state: 'off', heard: undefined };
  #listeners = new Set<() => void>();
  #entryListeners = new Set<(entry: Entry) => void>();
  #stop: AbortController | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;

  readonly #client = createClient(LedgerService, transport);

  get live(): Live {
    return this.#live;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Calls the listener with each new entry. */
  onEntry(listener: (entry: Entry) => void): () => void {
    this.#entryListeners.add(listener);
    return () => this.#entryListeners.delete(listener);
  }

  /** Follows a tenant until it is stopped. */
  start(tenant: string): () => void {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#set('reconnecting');
    void this.#run(tenant, stop.signal);
    return () => {
      stop.abort();
      clearTimeout(this.#refresh);
      this.#refresh = undefined;
      this.#set('off');
    };
  }

  async #run(tenant: string, signal: AbortSignal): Promise<void> {
    let next: bigint | undefined;
    const stopped = () => signal.aborted;
    for (let failures = 0; !stopped(); failures++) {
      const attempt = new AbortController();
      const connection = AbortSignal.any([signal, attempt.signal]);
      let watchdog: ReturnType<typeof setTimeout> | undefined;
      const heard = () => {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => {
          attempt.abort();
        }, silence);
      };
      try {
        heard();
        const known = next !== undefined;
        next ??= (await this.#client.getCheckpoint({}, { signal: connection })).treeSize;
        const messages = this.#client.watchEntries({ tenant, fromIndex: next }, { signal: connection });
        for await (const { entry, nextIndex } of messages) {
          heard();
          next = nextIndex;
          if (failures > 0 && known) this.#refreshSoon(); // what was missed in the gap
          failures = 0;
          this.#set('live', Date.now());
          if (entry !== undefined) this.#arrived(entry);
        }
      } catch (error) {
        const refused =
          error instanceof ConnectError &&
          (error.code === Code.Unauthenticated || error.code === Code.PermissionDenied);
        if (refused && !stopped()) {
          this.#set('off');
          return;
        }
      } finally {
        clearTimeout(watchdog);
      }
      if (stopped()) return;
      this.#set(failures < 3 ? 'reconnecting' : 'stale');
      await pause(Math.min(longestWait, 500 * 2 ** failures) * (0.5 + Math.random() / 2), signal);
    }
  }

  #arrived(entry: Entry): void {
    for (const listener of this.#entryListeners) listener(entry);
    this.#refreshSoon();
  }

  #refreshSoon(): void {
    this.#refresh ??= setTimeout(() => {
      this.#refresh = undefined;
      void queries.invalidateQueries({
        predicate: ({ meta, queryKey }) => meta?.['live'] !== false && queryKey[0] !== 'session',
      });
    }, pace);
  }

  #set(state: LiveState, heard = this.#live.heard): void {
    const changed = state !== this.#live.state || heard !== this.#live.heard;
    this.#live = { state, heard };
    if (changed) for (const listener of this.#listeners) listener();
  }
}

/** Waits until the time has passed, or the page is online again. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}

/** The follower of the page. */
export const follower = new Follower();

/** Returns the state of the live updates. */
export const useLive = (): Live => useSyncExternalStore(follower.subscribe, () => follower.live);
