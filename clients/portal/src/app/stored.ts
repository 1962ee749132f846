/** Values that the browser remembers, if it may. */

import { useSyncExternalStore } from 'react';

/** A value in the browser's storage. Without storage it lasts as long as the page. */
export class Stored<Value extends string> {
  #value: Value;
  readonly #listeners = new Set<() => void>();

  constructor(
    readonly key: string,
    /** Undefined: any text. */
    readonly values: readonly Value[] | undefined,
    first: Value,
  ) {
    this.#value = this.#valid(read(key)) ?? first;
  }

  #valid(value: string | null): Value | undefined {
    if (this.values === undefined) return (value ?? undefined) as Value | undefined; // Value is string
    return this.values.find((valid) => valid === value);
  }

  get = (): Value => this.#value;

  set(value: Value): void {
    this.#value = value;
    try {
      localStorage.setItem(this.key, value);
    } catch {
      // The browser forbids storage, or it is full.
    }
    for (const listener of this.#listeners) listener();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Returns the value, and draws the component again when it changes. */
export const useStored = <Value extends string>(stored: Stored<Value>): Value =>
  useSyncExternalStore(stored.subscribe, stored.get);
