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
        const response = await next(request);
        return response.stream ? { ...response, message: watched(response.message) } : response;
      } catch (error) {
        refused(error);
        throw error;
      }
    },
  ],
});

function refused(error: unknown): void {
  if (isSignedOut(error)) sessionEnded();
}

/** Passes messages on. A stream reports its refusal at its end. */
async function* watched<Message>(messages: AsyncIterable<Message>): AsyncGenerator<Message> {
  try {
    yield* messages;
  } catch (error) {
    refused(error);
    throw error;
  }
}
