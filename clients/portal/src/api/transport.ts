/** Calls of the API at the page's own origin, with the session's cookie. */

import { createConnectTransport } from '@connectrpc/connect-web';
import { QueryClient } from '@tanstack/react-query';
import { isSignedOut, problemOf } from './errors';
import { sessionEnded } from '../session/session';

/** The transport of every call. Fetch sends the cookie to the same origin only. */
export const transport = createConnectTransport({
  baseUrl: location.origin,
  useBinaryFormat: true,
  fetch: (input, init) => fetch(input, { ...init, credentials: 'same-origin', redirect: 'error' }),
  interceptors: [
    (next) => async (request) => {
      try {
        return await next(request);
      } catch (error) {
        if (isSignedOut(error)) sessionEnded();
        throw error;
      }
    },
  ],
});

/** The cache of answers. Live updates, see live.ts, make it stale. */
export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      retry: (count, error) => count < 2 && problemOf(error).retry,
      refetchOnWindowFocus: false,
    },
  },
});
