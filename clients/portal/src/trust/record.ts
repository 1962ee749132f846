/**
 * What this browser trusts. The log's key is pinned when the browser first sees
 * it, unless somebody has chosen a trust policy file from another source. A
 * server that presents another key later is not believed.
 *
 * The page itself comes from the server. This record protects against changed
 * data, stores, replicas and proxies, and not against a server that serves a
 * changed page: for that, verify downloaded receipts with `muniment verify`.
 */

import { parsePolicy, type Policy } from '@muniment/verify';
import * as v from 'valibot';

const Hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const PolicyText = v.object({
  name: v.pipe(v.string(), v.maxLength(256)),
  text: v.pipe(v.string(), v.maxLength(1 << 20)),
});

const Pinned = v.object({
  /** The log's key, as a C2SP vkey. */
  key: v.pipe(v.string(), v.maxLength(4096)),
  /** When the browser first saw it, in milliseconds since 1970. */
  since: v.number(),
});

const Schema = v.object({
  version: v.literal(1),
  pinned: v.optional(Pinned),
  /** Trust policies that somebody has chosen. They replace the pinned key. */
  policies: v.optional(v.array(PolicyText), []),
  /** The stream of each tenant, as its first verified receipt has proven it. */
  streams: v.optional(v.record(v.string(), Hash), {}),
});

export type TrustRecord = v.InferOutput<typeof Schema>;
export type PolicyText = v.InferOutput<typeof PolicyText>;

export const nothing: TrustRecord = { version: 1, policies: [], streams: {} };

/** Parses a stored record. Undefined: it is damaged. */
export function parseRecord(text: string | null): TrustRecord | undefined {
  if (text === null) return nothing;
  try {
    return v.parse(Schema, JSON.parse(text));
  } catch {
    return undefined;
  }
}

/**
 * - chosen: by policies from a file
 * - pinned: by the key that the browser saw first, and the server presents it
 * - first: by the key that the server presents now, for the first time
 * - changed: the server presents another key than the pinned one
 * - none: there is no key
 */
export type TrustState = 'chosen' | 'pinned' | 'first' | 'changed' | 'none';

/** What receipts are verified with. */
export interface Trust {
  state: TrustState;
  policies: Policy[];
  /** When the pinned key was first seen. */
  since?: number;
  /** The key that the server presents. */
  presented?: string;
  /** The key of the log that is trusted. */
  trusted?: string;
  /** A chosen policy or the pinned key is damaged. */
  problem?: string;
}

/** Returns the log's key in a trust policy. */
export const logKeyIn = (policy: string): string | undefined => /^[ \t]*log[ \t]+(\S+)/m.exec(policy)?.[1];

/** The name of the policy that is made from the pinned key. */
const PINNED = 'this browser';

/** Returns what receipts are verified with, given the key that the server presents. */
export function trustOf(record: TrustRecord, presented: string | undefined): Trust {
  const seen = presented === undefined || presented === '' ? {} : { presented };
  try {
    if (record.policies.length > 0) {
      const policies = record.policies.map(({ name, text }) => parsePolicy(name, text));
      return { state: 'chosen', policies, ...seen };
    }
    const trusted = record.pinned?.key ?? seen.presented;
    if (trusted === undefined) return { state: 'none', policies: [] };
    const policies = [parsePolicy(PINNED, `log ${trusted}\nquorum none\n`)];
    if (record.pinned === undefined) return { state: 'first', policies, trusted, ...seen };
    const state = seen.presented === undefined || seen.presented === trusted ? 'pinned' : 'changed';
    return { state, policies, trusted, since: record.pinned.since, ...seen };
  } catch (error) {
    return { state: 'none', policies: [], problem: error instanceof Error ? error.message : String(error), ...seen };
  }
}
