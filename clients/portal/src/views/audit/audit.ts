/** The audit of the log by this browser. */

import { createClient } from '@connectrpc/connect';
import type { Policy } from '@muniment/verify';
import { parseCheckpoint, type Checkpoint } from '@muniment/verify/proof';
import { transport } from '../../api/transport';
import { LedgerService } from '../../gen/muniment/v1/ledger_pb';
import { isConsistent, type Tree } from './consistency';
import { recall, remember, withAlarm, withCheckpoint, type Alarm, type Memory } from './memory';

const client = createClient(LedgerService, transport);

/** The result of an audit. */
export interface Audit {
  note: string;
  checkpoint: Checkpoint;
  /** The keys that have signed it, by the trusted policy. Empty: none is trusted. */
  signers: readonly string[];
  /** Why the signatures are not accepted. */
  refused?: string;
  /** The checkpoint that it was compared with. */
  before?: { checkpoint: Checkpoint; seen: number };
  /** It continues the one before. Undefined: it is the first. */
  consistent?: boolean;
  memory: Memory;
  /** What is remembered could not be stored. */
  forgetful?: string;
}

const treeOf = ({ size, root }: Checkpoint): Tree => ({ size: BigInt(size), root });

/** Fetches the checkpoint, and compares it with the last that is remembered. */
export async function audit(origin: string, policies: readonly Policy[], signal: AbortSignal): Promise<Audit> {
  const response = await client.getCheckpoint({}, { signal });
  const note = new TextDecoder('utf-8', { fatal: true }).decode(response.checkpoint);
  const checkpoint = parseCheckpoint(note);
  const accepted = accept(checkpoint, policies, origin);
  const memory = recall(origin);
  const last = memory.checkpoints.at(-1);
  const result = { note, checkpoint, ...accepted };
  // Only what the log has signed is remembered, and compared.
  if (accepted.refused !== undefined) return { ...result, memory };
  const seen = Date.now();
  if (last === undefined) return { ...result, ...store(origin, withCheckpoint(memory, { note, seen })) };
  const before = { checkpoint: parseCheckpoint(last.note), seen: last.seen };
  const alarm = await compare(before.checkpoint, checkpoint, signal);
  const next =
    alarm === undefined
      ? withCheckpoint(memory, { note, seen })
      : withAlarm(memory, { ...alarm, found: seen, before: last.note, after: note });
  return { ...result, before, consistent: alarm === undefined, ...store(origin, next) };
}

/** Returns why the newer checkpoint does not continue the other one. */
async function compare(
  before: Checkpoint,
  after: Checkpoint,
  signal: AbortSignal,
): Promise<Pick<Alarm, 'kind' | 'proof'> | undefined> {
  if (after.size < before.size) return { kind: 'rollback', proof: [] };
  const proof =
    after.size === before.size || before.size === 0
      ? []
      : (await client.getConsistencyProof({ fromSize: BigInt(before.size), toSize: BigInt(after.size) }, { signal }))
          .hashes;
  if (isConsistent(treeOf(before), treeOf(after), proof)) return undefined;
  return { kind: 'fork', proof: proof.map((hash) => btoa(String.fromCharCode(...hash))) };
}

/** Verifies the signatures by the first policy that accepts them. */
function accept(checkpoint: Checkpoint, policies: readonly Policy[], origin: string) {
  if (checkpoint.origin !== origin) return { signers: [], refused: `the checkpoint is from ${checkpoint.origin}` };
  let refused = 'this browser trusts no key of the log';
  for (const policy of policies)
    try {
      return { signers: policy.accept(checkpoint) };
    } catch (error) {
      refused = error instanceof Error ? error.message : String(error);
    }
  return { signers: [], refused };
}

function store(origin: string, memory: Memory): { memory: Memory; forgetful?: string } {
  try {
    remember(origin, memory);
    return { memory };
  } catch (error) {
    return { memory, forgetful: error instanceof Error ? error.message : String(error) };
  }
}
