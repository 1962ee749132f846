/** Steps whose receipts this browser verifies. */

import { parseReceipt, type Statement } from '@muniment/verify';
import { createClient } from '@connectrpc/connect';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useMemo } from 'react';
import { problemOf } from '../../api/errors';
import { transport } from '../../api/transport';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import type { Trust } from '../../trust/record';
import { pinFirst } from '../../trust/store';
import { check, differences, type Checked } from '../entry/check';
import { useTrust } from '../entry/data';

const client = createClient(LedgerService, transport);

/** A payload that the receipt of its entry commits to. */
export interface Proven {
  /** Absent: it is being fetched, or not proven. */
  payload: Uint8Array | undefined;
  /** Of the entry, if the payload is proven. */
  leafHash: string | undefined;
  /** Why nothing is proven. */
  refused: string | undefined;
  error: unknown;
  refetch: () => unknown;
}

/** Fetches the receipt of an entry with its payload, and verifies both. */
export function usePayload(tenant: string, index: bigint | undefined): Proven {
  const trust = useTrust();
  const query = useQuery({
    staleTime: 5 * 60_000,
    meta: { live: false }, // a published entry does not change
    queryKey: ['receipt', 'payload', tenant, String(index)],
    enabled: index !== undefined,
    queryFn: async ({ signal }) =>
      (await client.getReceipt({ tenant, index: index ?? 0n, includePayload: true }, { signal })).receipt,
  });
  const checked = useMemo(
    () => (query.data === undefined || index === undefined ? undefined : verifyOne(query.data, trust, index, tenant)),
    [query.data, trust, index, tenant],
  );
  useEffect(() => {
    if (checked?.verdict === 'verified') pinFirst(trust);
  }, [checked, trust]);
  const { payload, leafHash, refused } = useMemo(() => contentOf(query.data, checked), [query.data, checked]);
  return { payload, leafHash, refused, error: query.error, refetch: query.refetch };
}

const noKey = 'this browser has no key of the log: open an entry, and choose a trust policy there';

function verifyOne(receipt: Uint8Array, trust: Trust, index: bigint, tenant: string): Checked {
  if (trust.policies.length === 0) return { verdict: 'refused', code: 'no-key', step: 0, message: noKey };
  return check(receipt, trust.policies, { index, tenant });
}

function contentOf(
  receipt: Uint8Array | undefined,
  checked: Checked | undefined,
): Pick<Proven, 'payload' | 'leafHash' | 'refused'> {
  const none = { payload: undefined, leafHash: undefined, refused: undefined };
  if (receipt === undefined || checked === undefined) return none;
  if (checked.verdict === 'refused') return { ...none, refused: checked.message };
  if (checked.statement.payloadSha256 === undefined) return { ...none, refused: 'the payload of the entry was erased' };
  return { ...none, payload: parseReceipt(receipt).payload?.content, leafHash: checked.statement.leafHash };
}

/** The result of verifying the receipt of an entry. Without a problem, it is verified. */
export interface Verification {
  index: bigint;
  problem?: string;
}

/** Requests at a time. */
const together = 4;

/**
 * Verifies the receipts of entries, and that the server describes the entries
 * as the receipts do.
 *
 * @param onResult is called for each entry, in any order
 */
export async function verifyAll(
  tenant: string,
  entries: readonly Entry[],
  trust: Trust,
  signal: AbortSignal,
  onResult: (result: Verification) => void,
): Promise<void> {
  const left = [...entries];
  const work = async (): Promise<void> => {
    for (let entry = left.pop(); entry !== undefined; entry = left.pop()) {
      const problem = await problemWith(tenant, entry, trust, signal);
      if (signal.aborted) return;
      onResult({ index: entry.index, ...(problem !== undefined && { problem }) });
    }
  };
  await Promise.all(Array.from({ length: together }, work));
}

async function problemWith(
  tenant: string,
  entry: Entry,
  trust: Trust,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    const { receipt } = await client.getReceipt({ tenant, index: entry.index }, { signal });
    const checked = verifyOne(receipt, trust, entry.index, tenant);
    if (checked.verdict === 'refused') return checked.message;
    pinFirst(trust);
    const differing = differingFrom(entry, checked.statement);
    return differing.length === 0 ? undefined : `the server describes another ${differing.join(', ')} than the receipt`;
  } catch (error) {
    return problemOf(error).detail;
  }
}

/** Returns the members of an entry that differ from its verified receipt. */
export function differingFrom(entry: Entry, statement: Statement): string[] {
  const proven = statement.header?.attributes ?? {};
  const names = new Set([...Object.keys(proven), ...Object.keys(entry.attributes)]);
  const differing = [...names].filter((name) => proven[name] !== entry.attributes[name]);
  return [...differences(entry, statement), ...differing.map((name) => `attribute ${name}`)];
}
