import { Navigate, Outlet, useRouterState } from '@tanstack/react-router';
import { useEffect } from 'react';
import { follower } from '../live/live';
import { useMaybePerson, useSession } from '../session/session';
import { Failed, Loading } from '../ui/State';

/** Views of a tenant. Without a session it leads to the sign-in, and back. */
export function Members() {
  const { data, error, refetch } = useSession();
  const here = useRouterState({ select: ({ location }) => location.pathname + location.searchStr });
  const tenant = useMaybePerson()?.tenant;
  useEffect(() => (tenant === undefined ? undefined : follower.start(tenant)), [tenant]);
  if (data === undefined)
    return error ? <Failed error={error} onRetry={() => void refetch()} /> : <Loading label="Loading the session" />;
  if (tenant === undefined) return <Navigate to="/signin" search={{ return: `/portal${here}` }} replace />;
  // Another tenant begins with new views.
  return <Outlet key={tenant} />;
}
