import { Link, Outlet, useRouter, useRouterState } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { useMaybePerson } from '../session/session';
import { classes } from '../ui/classes';
import { zoneAt } from '../ui/format';
import { MenuIcon } from '../ui/icons';
import { useNow } from '../ui/now';
import { DisplayMenu } from './DisplayMenu';
import styles from './Layout.module.css';
import { LiveStatus } from './LiveStatus';
import { NAVIGATION } from './navigation';
import { SearchBox } from './SearchBox';
import { SessionMenu } from './SessionMenu';

/** The frame of every view: search, navigation, session. */
export function Layout() {
  const [open, setOpen] = useState(false);
  const person = useMaybePerson();
  useFocusOfViews(() => {
    setOpen(false);
  });
  return (
    <div className={styles.frame}>
      <a className={styles.skip} href="#main">
        Skip to the content
      </a>
      <header className={styles.bar}>
        <button
          type="button"
          className={styles.menu}
          aria-expanded={open}
          aria-controls="navigation"
          onClick={() => {
            setOpen(!open);
          }}
        >
          <MenuIcon />
          <span className="visually-hidden">Navigation</span>
        </button>
        <Link to="/" className={styles.brand}>
          Muniment
        </Link>
        <div className={styles.search}>{person && <SearchBox />}</div>
        <div className={styles.tools}>
          {person && <LiveStatus />}
          <DisplayMenu />
          <SessionMenu />
        </div>
      </header>
      <nav id="navigation" className={classes(styles.nav, open && styles.open)} aria-label="Views">
        <ul>
          {NAVIGATION.map(({ to, name, icon: Icon }) => (
            <li key={to}>
              <Link
                to={to}
                className={styles.link}
                activeOptions={{ exact: to === '/' }}
                activeProps={{ 'aria-current': 'page' }}
              >
                <Icon />
                {name}
              </Link>
            </li>
          ))}
        </ul>
        <Zone />
      </nav>
      <main id="main" className={styles.main} tabIndex={-1}>
        <Outlet />
      </main>
    </div>
  );
}

/** The zone of all times. */
function Zone() {
  const now = useNow();
  return <p className={styles.zone}>Times in {zoneAt(new Date(now))}</p>;
}

/** After a move to another view, the focus is at its heading, where a screen reader continues. */
function useFocusOfViews(moved: () => void): void {
  const router = useRouter();
  const path = useRouterState({ select: ({ resolvedLocation }) => resolvedLocation?.pathname });
  const before = useRef(path);
  const then = useRef(moved);
  useEffect(() => {
    then.current = moved;
  });
  useEffect(() => {
    if (before.current !== undefined && before.current !== path) {
      then.current();
      (document.querySelector<HTMLElement>('main h1') ?? document.getElementById('main'))?.focus({
        preventScroll: true,
      });
    }
    before.current = path;
  }, [path, router]);
}
