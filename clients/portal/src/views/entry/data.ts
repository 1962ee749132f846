/** The requests of the view: an entry, its receipt, and its erasure. */

import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useMemo } from 'react';
import { transport } from '../../api/transport';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { useSession } from '../../session/session';
import { logKeyIn, trustOf, type Trust } from '../../trust/record';
import { pinFirst, trustStore, useTrustRecord } from '../../trust/store';
import { check, differences, type Checked } from './check';

const client = createClient(LedgerService, transport);

/** Published entries don't change, except that parts of them can be erased. */
const lasting = { staleTime: 5 * 60_000, meta: { live: false } };

/** What a page shows about an entry. */
export interface Subject {
  trust: Trust;
  /** As the server describes it. Not verified. */
  entry: { data: Entry | undefined; error: unknown; refetch: () => unknown };
  receipt: { data: Uint8Array | undefined; error: unknown; refetch: () => unknown };
  checked: Checked | undefined;
  /** Members in which the server's description differs from the verified receipt. */
  differing: string[];
}

/** Fetches an entry and its receipt, and verifies the receipt. */
export function useEntry(tenant: string, index: bigint): Subject {
  const trust = useTrust();
  const record = useTrustRecord();
  const isWitnessed = trust.state === 'chosen' && trust.policies.every(({ asksForWitness }) => asksForWitness);
  const entry = useQuery({
    ...lasting,
    queryKey: ['entry', tenant, String(index)],
    queryFn: async ({ signal }) => (await client.getEntry({ tenant, index }, { signal })).entry,
    retry: (count, error) => count < 2 && !isFinal(error),
  });
  const receipt = useQuery({
    ...lasting,
    queryKey: ['receipt', tenant, String(index), isWitnessed],
    queryFn: async ({ signal }) => await receiptOf(tenant, index, isWitnessed, signal),
    retry: (count, error) => count < 2 && !isFinal(error),
  });
  const stream = record !== undefined && Object.hasOwn(record.streams, tenant) ? record.streams[tenant] : undefined;
  const checked = useMemo(
    () =>
      receipt.data === undefined || trust.policies.length === 0
        ? undefined
        : check(receipt.data, trust.policies, { index, tenant, stream }),
    [receipt.data, trust, index, tenant, stream],
  );
  useEffect(() => {
    if (checked?.verdict !== 'verified') return;
    pinFirst(trust);
    if (checked.statement.streamId !== undefined) trustStore.rememberStream(tenant, checked.statement.streamId);
  }, [checked, trust, tenant]);
  const differing = useMemo(
    () =>
      entry.data !== undefined && checked?.verdict === 'verified' ? differences(entry.data, checked.statement) : [],
    [entry.data, checked],
  );
  return { trust, entry, receipt, checked, differing };
}

/** Returns what this browser trusts, given the key that the server presents. */
export function useTrust(): Trust {
  const record = useTrustRecord();
  const policy = useSession().data?.policy;
  return useMemo(
    () =>
      record === undefined
        ? { state: 'none', policies: [], problem: 'the record of the key in this browser is damaged' }
        : trustOf(record, logKeyIn(policy ?? '')),
    [record, policy],
  );
}

/** Returns the receipt, with cosignatures if the policy requires them and there are some. */
async function receiptOf(tenant: string, index: bigint, witnessed: boolean, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return (await client.getReceipt({ tenant, index, witnessed }, { signal })).receipt;
  } catch (error) {
    const isUnwitnessed =
      error instanceof ConnectError && (error.code === Code.FailedPrecondition || error.code === Code.Unavailable);
    if (!witnessed || !isUnwitnessed) throw error;
    return (await client.getReceipt({ tenant, index }, { signal })).receipt;
  }
}

const final = [Code.NotFound, Code.OutOfRange, Code.InvalidArgument, Code.PermissionDenied, Code.Unauthenticated];

const isFinal = (error: unknown): boolean => error instanceof ConnectError && final.includes(error.code);

/** Returns the entry that records the erasure of an entry. */
export function useErasure(tenant: string, index: bigint, isErased: boolean) {
  return useQuery({
    ...lasting,
    queryKey: ['erasure', tenant, String(index)],
    enabled: isErased,
    queryFn: async ({ signal }) => {
      const filter = { kind: 'erasure', attribute: `entry=${index}` };
      return (await client.listEntries({ tenant, filter, pageSize: 1 }, { signal })).entries[0] ?? null;
    },
  });
}
