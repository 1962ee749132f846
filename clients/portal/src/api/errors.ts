/** Errors of the API, in words for people. */

import { Code, ConnectError } from '@connectrpc/connect';

/** What a view shows about a failed request. */
export interface Problem {
  title: string;
  detail: string;
  /** Trying again can succeed. */
  retry: boolean;
}

const titles = new Map<Code, readonly [title: string, retry: boolean]>([
  [Code.Unauthenticated, ['The session has ended', false]],
  [Code.PermissionDenied, ['Your role does not allow this', false]],
  [Code.NotFound, ['Not found', false]],
  [Code.InvalidArgument, ['The request is not valid', false]],
  [Code.FailedPrecondition, ['This is not possible now', false]],
  [Code.Aborted, ['Something changed in the meantime', true]],
  [Code.Unavailable, ['The server does not answer', true]],
  [Code.DeadlineExceeded, ['The server took too long', true]],
  [Code.ResourceExhausted, ['Too many requests, or too much data', true]],
  [Code.Canceled, ['The request was interrupted', true]],
  [Code.Unimplemented, ['This server has no such service', false]],
]);

/** Describes an error. */
export function problemOf(error: unknown): Problem {
  if (error instanceof TypeError && /fetch|network|load failed/i.test(error.message))
    return { title: 'The server does not answer', detail: 'Check the connection to the server.', retry: true };
  if (error instanceof ConnectError) {
    const [title, retry] = titles.get(error.code) ?? ['The server failed', true];
    return { title, detail: error.rawMessage, retry };
  }
  return { title: 'The page failed', detail: error instanceof Error ? error.message : String(error), retry: true };
}

/** Reports whether the error means that the session has ended. */
export const isSignedOut = (error: unknown): boolean =>
  error instanceof ConnectError && error.code === Code.Unauthenticated;
