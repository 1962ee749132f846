import { Outlet, useRouter } from '@tanstack/react-router';
import { useEffect } from 'react';
import { follower } from '../live/live';
import { useMaybePerson, useSession } from '../session/session';
import { Failed, Loading } from '../ui/State';

/** Views of a tenant. Without a session it leads to the sign-in, and back. */
export function Members() {
  const { data, error, refetch } = useSession();
  const tenant = useMaybePerson()?.tenant;
  useEffect(() => (tenant === undefined ? undefined : follower.start(tenant)), [tenant]);
  if (data === undefined)
    return error ? <Failed error={error} onRetry={() => void refetch()} /> : <Loading label="Loading the session" />;
  if (tenant === undefined) return <ToSignIn />;
  // Another tenant begins with new views.
  return <Outlet key={tenant} />;
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
