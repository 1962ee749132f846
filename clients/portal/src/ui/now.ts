/** The current time, for texts that age. One timer serves the page. */

import { useSyncExternalStore } from 'react';

const interval = 10_000;
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, interval);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** Returns the time in milliseconds since 1970, at most 10 seconds old. */
export const useNow = (): number => useSyncExternalStore(subscribe, () => now);
