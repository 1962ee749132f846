import { Navigate, Outlet, useRouterState } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { follower } from '../live/live';
import { useSession } from '../session/session';
import { Failed, Loading } from '../ui/State';

/** Views of a tenant. Without a session it leads to the sign-in, and back. */
export function Members() {
  const { data, error, refetch } = useSession();
  const here = useRouterState({ select: ({ location }) => location.pathname + location.searchStr });
  const tenant = data?.person?.tenant;
  const wasSignedIn = useRef(false);
  useEffect(() => {
    if (tenant === undefined) return undefined;
    wasSignedIn.current = true;
    return follower.start(tenant);
  }, [tenant]);
  if (data === undefined)
    return error ? <Failed error={error} onRetry={() => void refetch()} /> : <Loading label="Signing in" />;
  if (tenant === undefined) return <SignIn here={here} was={wasSignedIn} />;
  return <Outlet />;
}

function SignIn({ here, was }: { here: string; was: React.RefObject<boolean> }) {
  const reason = was.current ? { reason: 'ended' } : {};
  return <Navigate to="/signin" search={{ return: here, ...reason }} replace />;
}
