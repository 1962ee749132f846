/** Calls of the API at the page's own origin, with the session's cookie. */

import { createConnectTransport } from '@connectrpc/connect-web';
import { isSignedOut } from './errors';
import { currentTenant, sessionEnded } from '../session/session';

/** The transport of every call. Fetch sends the cookie to the same origin only. */
export const transport = createConnectTransport({
  baseUrl: location.origin,
  useBinaryFormat: true,
  fetch: (input, init) => fetch(input, { ...init, credentials: 'same-origin', redirect: 'error' }),
  interceptors: [
    (next) => async (request) => {
      const tenant = currentTenant();
      if (tenant !== '') request.header.set('muniment-tenant', tenant);
      try {
        return await next(request);
      } catch (error) {
        if (isSignedOut(error)) sessionEnded();
        throw error;
      }
    },
  ],
});
