/** Records events: the entries that a person's decisions become. */

import { toJsonString, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { queries } from '../api/queries';
import { transport } from '../api/transport';
import { LedgerService } from '../gen/muniment/v1/ledger_pb';

const ledger = createClient(LedgerService, transport);

/**
 * Records an event, and has the views fetch again what it may change.
 *
 * @returns the index of the entry
 */
export async function record<Desc extends DescMessage>(
  tenant: string,
  kind: string,
  schema: Desc,
  event: MessageShape<Desc>,
  idempotencyKey: string,
): Promise<bigint> {
  const payload = new TextEncoder().encode(toJsonString(schema, event));
  const { appended } = await ledger.append({
    tenant,
    submission: { kind, payload, idempotencyKey },
  });
  if (appended === undefined) throw new Error('the server has answered without an entry');
  await queries.invalidateQueries({
    predicate: ({ queryKey }) => queryKey[0] !== 'session',
  });
  return appended.index;
}
