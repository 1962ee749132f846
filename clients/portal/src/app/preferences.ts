/** What people choose about the display. The browser remembers it. */

import { useSyncExternalStore } from 'react';
import { Stored, useStored } from './stored';

export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

export const theme = new Stored<Theme>('muniment-theme', THEMES, 'system');
/** Keys without a modifier can be turned off (WCAG 2.1.4). */
export const shortcut = new Stored('muniment-shortcut', ['on', 'off'], 'on');

/** Shows the theme, and follows it. Call it once, before the page is drawn. */
export function applyTheme(): void {
  const show = () => {
    const chosen = theme.get();
    if (chosen === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = chosen;
  };
  show();
  theme.subscribe(show);
}

const darkSystem = matchMedia('(prefers-color-scheme: dark)');

/** Reports whether the page is dark, by choice or by the system. */
export function useIsDark(): boolean {
  const chosen = useStored(theme);
  const system = useSyncExternalStore(followSystem, () => darkSystem.matches);
  return chosen === 'dark' || (chosen === 'system' && system);
}

function followSystem(listener: () => void): () => void {
  darkSystem.addEventListener('change', listener);
  return () => {
    darkSystem.removeEventListener('change', listener);
  };
}

/** Reports whether the key / moves to the search. */
export const useShortcut = (): boolean => useStored(shortcut) === 'on';
