/** Where the browser keeps what it trusts. */

import { useSyncExternalStore } from 'react';
import { nothing, parseRecord, type PolicyText, type Trust, type TrustRecord } from './record';

const key = 'muniment-trust';

/** The record of this browser. Without storage it lasts as long as the page. */
class Store {
  /** Undefined: what is stored is damaged. */
  #record: TrustRecord | undefined;
  readonly #listeners = new Set<() => void>();

  constructor() {
    this.#record = this.#read();
    addEventListener('storage', (event) => {
      if (event.key !== key && event.key !== null) return;
      this.#record = this.#read(); // another page of the browser has changed it
      this.#changed();
    });
  }

  get = (): TrustRecord | undefined => this.#record;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Pins the log's key, unless one is pinned. */
  pin(logKey: string): void {
    if (this.#record !== undefined && this.#record.pinned === undefined)
      this.#write({ ...this.#record, pinned: { key: logKey, since: Date.now() } });
  }

  /** Remembers the stream of a tenant, unless one is remembered. */
  rememberStream(tenant: string, streamId: string): void {
    if (this.#record !== undefined && !Object.hasOwn(this.#record.streams, tenant))
      this.#write({ ...this.#record, streams: { ...this.#record.streams, [tenant]: streamId } });
  }

  /** Verifies with policies from files from now on. None: with the pinned key. */
  choose(policies: PolicyText[]): void {
    this.#write({ ...(this.#record ?? nothing), policies });
  }

  /** Forgets the pinned key and the streams. The next key that is seen is pinned. */
  forget(): void {
    this.#write({ ...nothing, policies: this.#record?.policies ?? [] });
  }

  #read(): TrustRecord | undefined {
    try {
      return parseRecord(localStorage.getItem(key));
    } catch {
      return nothing; // the browser forbids storage
    }
  }

  #write(record: TrustRecord): void {
    this.#record = record;
    try {
      localStorage.setItem(key, JSON.stringify(record));
    } catch {
      // The browser forbids storage, or it is full.
    }
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

export const trustStore = new Store();

/** Pins the key that the first receipt has verified with. */
export function pinFirst({ state, trusted }: Trust): void {
  if (state === 'first' && trusted !== undefined) trustStore.pin(trusted);
}

/** Returns the record. Undefined: it is damaged. */
export const useTrustRecord = (): TrustRecord | undefined => useSyncExternalStore(trustStore.subscribe, trustStore.get);
