/** The searches of this tab. They end with it, so they stay private. */

import { useSyncExternalStore } from 'react';

const key = 'muniment-recent-searches';
const most = 8;
const none: readonly string[] = [];

const listeners = new Set<() => void>();
let current = read();

function read(): readonly string[] {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(key) ?? '[]');
    return Array.isArray(stored) ? stored.filter((text) => typeof text === 'string').slice(0, most) : none;
  } catch {
    return none;
  }
}

function write(searches: readonly string[]): void {
  current = searches;
  try {
    sessionStorage.setItem(key, JSON.stringify(searches));
  } catch {
    // They last as long as the page.
  }
  for (const listener of listeners) listener();
}

/** Remembers a search as the newest. */
export function remember(text: string): void {
  if (text === '' || current[0] === text) return;
  write([text, ...current.filter((other) => other !== text)].slice(0, most));
}

export const forgetSearches = (): void => {
  write(none);
};

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Returns the searches, the newest first. */
export const useRecent = (): readonly string[] => useSyncExternalStore(subscribe, () => current);
