import { useNavigate, useRouterState } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { SearchIcon } from '../ui/icons';
import { useShortcut } from './preferences';
import { useRecent } from '../views/search/recent';
import styles from './SearchBox.module.css';

/** Longest text that is searched for. */
const longest = 2048;

/** The one box that takes every identifier. The key / moves to it. */
export function SearchBox() {
  const navigate = useNavigate();
  const searched = useRouterState({ select: ({ location }) => (location.search as { q?: unknown }).q });
  const current = typeof searched === 'string' ? searched : '';
  const [before, setBefore] = useState(current);
  const [text, setText] = useState(current);
  const input = useRef<HTMLInputElement>(null);
  const shortcut = useShortcut();
  const recent = useRecent();
  if (before !== current) {
    setBefore(current);
    setText(current);
  }
  useEffect(() => {
    if (!shortcut) return undefined;
    const pressed = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || isEditable(event.target)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    addEventListener('keydown', pressed);
    return () => {
      removeEventListener('keydown', pressed);
    };
  }, [shortcut]);
  return (
    <form
      role="search"
      className={styles.form}
      onSubmit={(event) => {
        event.preventDefault();
        const q = text.trim();
        if (q !== '') void navigate({ to: '/search', search: { q } });
      }}
    >
      <SearchIcon />
      <input
        ref={input}
        type="search"
        className={styles.input}
        aria-label="Search"
        aria-keyshortcuts={shortcut ? '/' : undefined}
        placeholder="Digest, entry, purl, image, signer, control, finding"
        maxLength={longest}
        list="recent-searches"
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
        }}
      />
      {shortcut && (
        <kbd className={styles.key} aria-hidden="true">
          /
        </kbd>
      )}
      <datalist id="recent-searches">
        {recent.map((search) => (
          <option key={search} value={search} />
        ))}
      </datalist>
    </form>
  );
}

const isEditable = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
