/** Who uses the portal: the answer of /portal/session (docs/portal.md). */

import { queryOptions, useQuery } from '@tanstack/react-query';
import * as v from 'valibot';
import { Stored, useStored } from '../app/stored';
import { queries } from '../api/queries';
import { behindOf, type Behind } from './behind';

/** An identity in a tenant. */
const Seat = v.object({
  tenant: v.string(),
  /** The submitter that entries will contain. */
  identity: v.string(),
  /** For people. Empty: the identity. */
  name: v.optional(v.string(), ''),
  role: v.string(),
});

const Provider = v.object({ id: v.string(), name: v.string() });

const State = v.object({
  signedIn: v.boolean(),
  /** The browser had a session. */
  ended: v.optional(v.boolean(), false),
  tenants: v.array(Seat),
  method: v.optional(v.string(), ''),
  provider: v.optional(v.string(), ''),
  /** When the session ends at the latest, as RFC 3339. */
  expires: v.optional(v.string()),
  /** When the session ends if it is not used. */
  idleExpires: v.optional(v.string()),
  /** The time of the server. */
  now: v.string(),
  /** The server has all entries of the log up to this time. */
  asOf: v.optional(v.string()),
  /** Origin of the log. */
  log: v.string(),
  /** The trust policy of the log, as the server has it. */
  policy: v.optional(v.string(), ''),
  /** The server records nothing. */
  replica: v.boolean(),
  providers: v.array(Provider),
});

const Problem = v.object({ code: v.string(), message: v.string() });

export type Session = v.InferOutput<typeof State>;
export type Provider = v.InferOutput<typeof Provider>;

/** A person, in the tenant that is shown. */
export type Person = v.InferOutput<typeof Seat>;

/** A refusal by one of the portal's own paths. */
export class PortalError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Calls one of the portal's own paths. */
async function call(path: string, init?: RequestInit): Promise<Session> {
  const response = await fetch(`/portal/${path}`, { ...init, credentials: 'same-origin', redirect: 'error' });
  const text = await response.text();
  if (response.ok) return v.parse(State, JSON.parse(text));
  const { code, message } = problemIn(text);
  throw new PortalError(response.status, code, message);
}

function problemIn(text: string): v.InferOutput<typeof Problem> {
  try {
    return v.parse(Problem, JSON.parse(text));
  } catch {
    return { code: 'unknown', message: text.trim().slice(0, 300) }; // of a proxy
  }
}

const pollEvery = 60_000;
/** Of a replica, which can fall behind. */
const pollReplicaEvery = 15_000;

/** Returns how long the session need not be read again. */
const pollAfter = (session: Session | undefined): number =>
  session === undefined
    ? pollEvery
    : Math.min(
        session.replica || behindOf(session) !== undefined ? pollReplicaEvery : pollEvery,
        untilEnd(session) ?? pollEvery,
      );

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async ({ signal }) => {
    const state = await call('session', { signal });
    // The server reports an end once, and forgets the session with it.
    const before = queries.getQueryData<Session>(['session']);
    return { ...state, ended: !state.signedIn && (state.ended || before?.signedIn === true || before?.ended === true) };
  },
  staleTime: 60_000,
  // An end of the session becomes visible without a click.
  refetchInterval: ({ state: { data } }) => pollAfter(data),
  refetchOnWindowFocus: 'always',
});

/** Returns the milliseconds until a session ends, by the clock of the server. */
export function untilEnd({ now, expires, idleExpires }: Pick<Session, 'now' | 'expires' | 'idleExpires'>) {
  const ends = [expires, idleExpires].flatMap((end) => (end === undefined ? [] : Date.parse(end)));
  return ends.length === 0 ? undefined : Math.max(1_000, Math.min(...ends) - Date.parse(now) + 500);
}

/** Returns the session, and whether there is one. */
export const useSession = () => useQuery(sessionQuery);

/** Returns how far the server is behind. Undefined: it is up to date. */
export function useBehind(): Behind | undefined {
  const { data } = useSession();
  return data && behindOf(data);
}

/** The tenant that is shown, if the session has several. */
const chosen = new Stored<string>('muniment-tenant', undefined, '');

/** Returns the person in the tenant that is shown. Undefined: there is no session. */
export const personIn = ({ tenants }: Session, tenant = chosen.get()): Person | undefined =>
  tenants.find((seat) => seat.tenant === tenant) ?? tenants[0];

/** Returns the tenant that requests are for. Empty: there is no session. */
export function currentTenant(): string {
  const session = queries.getQueryData(sessionQuery.queryKey);
  return (session && personIn(session)?.tenant) ?? '';
}

/** Returns the person, or undefined without a session. */
export function useMaybePerson(): Person | undefined {
  const { data } = useSession();
  const tenant = useStored(chosen);
  return data && personIn(data, tenant);
}

/** Returns the person, in views that only people who are signed in see. */
export function usePerson(): Person {
  const person = useMaybePerson();
  if (person === undefined) throw new Error('there is no session');
  return person;
}

/** Shows another tenant of the session. */
export function chooseTenant(tenant: string): void {
  chosen.set(tenant);
  forget();
}

/** The other tabs of the browser, which have the same session. */
const tabs = new BroadcastChannel('muniment-session');
tabs.onmessage = () => void queries.invalidateQueries();

/** Has the session read anew, because a call was refused. */
export function sessionEnded(): void {
  void queries.invalidateQueries({ queryKey: sessionQuery.queryKey });
}

/** Ends the session, and forgets what it has shown. */
export async function signOut(): Promise<void> {
  changed(await call('signout', { method: 'POST' }));
}

/** Signs in with a token, for networks without a provider. */
export async function signInWithToken({ token, tenant }: { token: string; tenant: string }): Promise<void> {
  const state = await call('token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token, ...(tenant !== '' && { tenant }) }),
  });
  changed(state);
}

/** Shows another session, in each tab. */
function changed(state: Session): void {
  void queries.cancelQueries({ queryKey: sessionQuery.queryKey });
  forget();
  queries.setQueryData(sessionQuery.queryKey, state);
  tabs.postMessage('changed');
}

/** Removes the answers about a tenant from memory. */
function forget(): void {
  queries.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== 'session' });
}

/** Returns where a provider begins to sign somebody in. */
export const signInPath = (provider: string, then: string): string =>
  `/portal/signin?${new URLSearchParams({ provider, return: then })}`;
