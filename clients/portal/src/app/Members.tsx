import { Outlet, useRouter } from '@tanstack/react-router';
import { useEffect } from 'react';
import { follower } from '../live/live';
import { behindText } from '../session/behind';
import { useBehind, useMaybePerson, useSession } from '../session/session';
import { Failed, Loading } from '../ui/State';
import { Notice } from '../ui/Status';
import { Time } from '../ui/Time';
import styles from './Members.module.css';

/** Views of a tenant. Without a session it leads to the sign-in, and back. */
export function Members() {
  const { data, error, refetch } = useSession();
  const tenant = useMaybePerson()?.tenant;
  useEffect(() => (tenant === undefined ? undefined : follower.start(tenant)), [tenant]);
  if (data === undefined)
    return error ? <Failed error={error} onRetry={() => void refetch()} /> : <Loading label="Loading the session" />;
  if (tenant === undefined) return <ToSignIn />;
  // Another tenant begins with new views.
  return (
    <>
      <Behind />
      <Outlet key={tenant} />
    </>
  );
}

/** What the views lack, if the server is behind the log. */
function Behind() {
  const behind = useBehind();
  if (behind === undefined) return null;
  return (
    <div className={styles.behind} role="status">
      <Notice
        tone="warn"
        title={behind.replica ? 'This replica is behind the log' : 'This server may be behind the log'}
      >
        The views show the log as of <Time at={behind.asOf} />, {behindText(behind)}. Newer evidence and decisions can
        be missing.{' '}
        {behind.replica
          ? 'The views follow when the replica reaches the log again.'
          : 'The log is read-only, or is not known to be in its latest state.'}
      </Notice>
    </div>
  );
}

/** Leads to the sign-in, and from there back to where the session has ended. */
function ToSignIn() {
  const router = useRouter();
  useEffect(() => {
    // While the sign-in is loading, the location is its own already.
    const { pathname, searchStr } = router.state.location;
    if (pathname === '/signin') return;
    void router.navigate({ to: '/signin', search: { return: `/portal${pathname}${searchStr}` }, replace: true });
  }, [router]);
  return <Loading label="Loading the sign-in" />;
}
