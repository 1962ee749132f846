/** Who uses the portal: the answer of /portal/session. */

import { queryOptions, useQuery } from '@tanstack/react-query';
import * as v from 'valibot';
import { queries } from '../api/transport';

const Provider = v.object({ id: v.string(), name: v.string() });

const Person = v.object({
  /** The submitter that entries will contain. */
  identity: v.string(),
  /** For people. Empty: the identity. */
  name: v.optional(v.string(), ''),
  tenant: v.string(),
  role: v.string(),
  /** When the session ends at the latest, as RFC 3339. */
  expires: v.optional(v.string()),
});

const Answer = v.object({
  /** Absent: there is no session. */
  person: v.optional(v.nullable(Person)),
  providers: v.array(Provider),
  /** Of the log. */
  origin: v.optional(v.string(), ''),
  /** The log's public key, as a C2SP vkey. */
  logKey: v.optional(v.string(), ''),
  /** The server records nothing. */
  replica: v.optional(v.boolean(), false),
});

export type Session = v.InferOutput<typeof Answer>;
export type Person = v.InferOutput<typeof Person>;
export type Provider = v.InferOutput<typeof Provider>;

/** An answer of the portal's own paths that is no success. */
export class PortalError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Calls a path of the portal, and returns the text of its answer. */
async function call(path: string, init?: RequestInit): Promise<string> {
  const response = await fetch(`/portal/${path}`, { ...init, credentials: 'same-origin', redirect: 'error' });
  const text = await response.text();
  if (!response.ok) throw new PortalError(response.status, text.trim().slice(0, 500));
  return text;
}

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async ({ signal }) => v.parse(Answer, JSON.parse(await call('session', { signal }))),
  staleTime: 60_000,
  refetchInterval: 60_000, // an end of the session becomes visible without a click
  refetchOnWindowFocus: 'always',
});

/** Returns the session. Views below the frame have one with a person. */
export const useSession = () => useQuery(sessionQuery);

/** Returns the person, in views that only people who are signed in see. */
export function usePerson(): Person {
  const { data } = useSession();
  if (!data?.person) throw new Error('no session');
  return data.person;
}

/** Has the session read anew, because a call was refused. */
export function sessionEnded(): void {
  void queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
}

/** Ends the session, and forgets what it has shown. */
export async function signOut(): Promise<void> {
  await call('signout', { method: 'POST' });
  queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'session' });
  await queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
}

/** Signs in with a token of the API, for networks without a provider. */
export async function signInWithToken(token: string): Promise<void> {
  await call('token', {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token }),
  });
  await queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
}

/** Returns where a provider begins to sign somebody in. */
export const signInPath = (provider: string, then: string): string =>
  `/portal/signin?${new URLSearchParams({ provider, return: then })}`;
