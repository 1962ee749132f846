/**
 * Live updates: the stream of new entries makes answers stale, so that views
 * fetch them again. One stream serves all tabs of the browser: over HTTP/1.1 it
 * has six connections to a server, which streams of tabs would use up.
 */

import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { useSyncExternalStore } from 'react';
import { queries } from '../api/queries';
import { transport } from '../api/transport';
import { LedgerService } from '../gen/muniment/v1/ledger_pb';

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

/** What a tab sends to the others of its tenant. */
type Message =
  | { type: 'live'; live: Live; next: bigint | undefined } // from the tab with the stream
  | { type: 'changed' } // so too: answers are stale
  | { type: 'joined' }; // asks for the state

/**
 * Follows the log of a tenant. The tab that holds a lock of the tenant has the
 * stream, and the others follow this tab. If it closes, another gets the lock.
 */
export class Follower {
  #live: Live = { state: 'off', heard: undefined };
  #listeners = new Set<() => void>();
  #stop: AbortController | undefined;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  #tabs: BroadcastChannel | undefined;
  /** The index from which the stream has not been read. */
  #next: bigint | undefined;

  readonly #client = createClient(LedgerService, transport);

  get live(): Live {
    return this.#live;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Follows a tenant until it is stopped. */
  start(tenant: string): () => void {
    this.#stop?.abort();
    const stop = new AbortController();
    const { signal } = stop;
    const name = `muniment-live ${tenant}`;
    const tabs = new BroadcastChannel(name);
    this.#stop = stop;
    this.#tabs = tabs;
    this.#next = undefined;
    this.#show({ state: 'reconnecting', heard: undefined });
    const follow = this.#followTab(tabs);
    tabs.postMessage({ type: 'joined' } satisfies Message);
    navigator.locks
      .request(name, { signal }, async () => {
        follow.end();
        tabs.onmessage = ({ data }: MessageEvent<Message>) => {
          if (data.type === 'joined') this.#tellLive();
        };
        await this.#run(tenant, signal);
      })
      .catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    return () => {
      stop.abort();
      follow.end();
      clearTimeout(this.#refresh);
      this.#refresh = undefined;
      this.#show({ state: 'off', heard: this.#live.heard });
      tabs.close();
    };
  }

  /** Shows what the tab with the stream sends. */
  #followTab(tabs: BroadcastChannel): { end: () => void } {
    const watchdog = new Watchdog(() => {
      this.#show({ state: 'reconnecting', heard: this.#live.heard });
    });
    tabs.onmessage = ({ data }: MessageEvent<Message>) => {
      if (data.type === 'changed') this.#refreshSoon();
      if (data.type !== 'live') return;
      watchdog.heard();
      this.#next = data.next;
      this.#show(data.live);
    };
    return watchdog;
  }

  #tell(message: Message): void {
    this.#tabs?.postMessage(message);
  }

  #tellLive(): void {
    this.#tell({ type: 'live', live: this.#live, next: this.#next });
  }

  async #run(tenant: string, signal: AbortSignal): Promise<void> {
    const stopped = () => signal.aborted;
    for (let failures = 0; !stopped(); failures++) {
      const attempt = new AbortController();
      const connection = AbortSignal.any([signal, attempt.signal]);
      const watchdog = new Watchdog(() => {
        attempt.abort();
      });
      try {
        watchdog.heard();
        const known = this.#next !== undefined;
        this.#next ??= (await this.#client.getCheckpoint({}, { signal: connection })).treeSize;
        const messages = this.#client.watchEntries({ tenant, fromIndex: this.#next }, { signal: connection });
        for await (const { entry, nextIndex } of messages) {
          watchdog.heard();
          this.#next = nextIndex;
          // Entries may have been missed in the gap.
          if (entry !== undefined || (failures > 0 && known)) this.#changed();
          failures = 0;
          this.#set('live', Date.now());
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
        watchdog.end();
      }
      if (stopped()) return;
      this.#set(failures < 3 ? 'reconnecting' : 'stale');
      await pause(Math.min(longestWait, 500 * 2 ** failures) * (0.5 + Math.random() / 2), signal);
    }
  }

  #changed(): void {
    this.#tell({ type: 'changed' });
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

  /** Shows the state of the stream, in each tab. */
  #set(state: LiveState, heard = this.#live.heard): void {
    this.#show({ state, heard });
    this.#tellLive();
  }

  #show(live: Live): void {
    const changed = live.state !== this.#live.state || live.heard !== this.#live.heard;
    this.#live = live;
    if (changed) for (const listener of this.#listeners) listener();
  }
}

/** Calls when nothing is heard for too long. */
class Watchdog {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly call: () => void) {}

  heard(): void {
    this.end();
    this.#timer = setTimeout(this.call, silence);
  }

  end(): void {
    clearTimeout(this.#timer);
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
