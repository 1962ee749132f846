/** What systems report beside the pipeline. */

import { readFileSync } from 'node:fs';
import { api, event, gateway, inDays, kim, legacy, type Company } from './company.js';

const ago = (minutes: number): string => new Date(Date.now() - minutes * 60_000).toISOString();

const artifact = ({ name, digest }: { name: string; digest: string }) => ({
  name,
  digest: { sha256: digest.slice(7) },
});

/** Records what the systems of the company report. */
export async function connectSystems({ ledger }: Company): Promise<void> {
  const record = (kind: string, document: object) => event(ledger, kim, kind, document);
  await record('inventory', {
    scope: 'runs',
    environment: 'production',
    observed: ago(1),
    source: 'cluster',
    items: [gateway, legacy].map((chart) => ({ artifact: artifact(chart), type: 'chart' })),
  });
  for (const [i, acaScore] of [0.99, 0.97, 0.92].entries())
    await record('backfill-checkpoint', {
      entity: 'Asset',
      checkpoint: `${(i + 1) * 25}%`,
      acaScore,
      ts: ago(90 - i * 30),
      rollbackReady: true,
    });
  for (const outcome of [false, true])
    await record('backfill-step', {
      entity: 'Asset',
      job: { name: 'asset.yaml', digest: { sha256: 'a5'.repeat(32) } },
      run: 'run-1',
      step: 'rehearsal',
      phase: outcome ? 'outcome' : 'intent',
      ts: '2026-04-19T12:00:00Z',
      actor: 'conductor@db1',
      ...(outcome && { result: 'failed', intent: { index: '1', leafHash: '11'.repeat(32) } }),
    });
  await record('finding', {
    id: 'INC-2041',
    title: 'Asset service is slow',
    severity: 'medium',
    status: 'open',
    source: 'monitoring',
    detected: ago(60),
    controls: ['CHART-SCANNED'],
  });
  for (const [action, result, minutes] of [
    ['scale-out', 'succeeded', 50],
    ['drop-cache', 'failed', 45],
  ] as const)
    await record('triage-action', {
      incident: 'INC-2041',
      playbook: 'cache-stampede',
      action,
      result,
      irreversible: true,
      actor: 'autopilot@acme.example',
      started: ago(minutes),
      finished: ago(minutes - 2),
    });
  for (const [i, p99] of [84.5, 120.25, 91].entries())
    await record('metric-snapshot', {
      service: 'asset-service',
      window: { from: ago(180 - i * 60), to: ago(121 - i * 60) },
      metrics: [
        { name: 'latency_p99', value: p99, unit: 'ms' },
        { name: 'cache_hit_ratio', value: 0.93 - i / 50, unit: 'ratio' },
      ],
    });
  const report = { version: '1.4.0', verifier: 'muniment-python', verifiedAt: ago(5) };
  for (let i = 0; i < 3; i++)
    await record('verification-report', { ...report, verdict: 'verified', reasonCode: 'ok', index: String(i) });
  await record('verification-report', { ...report, verdict: 'not-verified', reasonCode: 'tag_mismatch', index: '3' });
}

interface Payload {
  job?: { digest: { sha256: string } };
  step?: string;
  phase?: string;
  result?: string;
}

/** Records the steps of a finished job of the demo's company, and returns the SHA-256 of its file. */
export async function recordBackfill({ ledger }: Company): Promise<string> {
  const file = new URL('../../../cmd/muniment/internal/demo/backfills/order-total.jsonl', import.meta.url);
  const references = new Map<string | undefined, object>();
  let digest = '';
  for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
    const { kind, payload } = JSON.parse(line) as { kind: string; payload: Payload };
    const isJudged = payload.step === 'checkpoint' && payload.result === 'succeeded';
    const index = await event(ledger, kim, kind, {
      ...payload,
      ...(payload.phase === 'outcome' && { intent: references.get(payload.step) }),
      ...(isJudged && { checkpointEntry: references.get('') }),
    });
    if (payload.phase !== 'outcome')
      references.set(payload.step ?? '', { index: String(index), leafHash: '11'.repeat(32) });
    digest = payload.job?.digest.sha256 ?? digest;
  }
  return digest;
}

/** Records the first windows of the caches of the demo's company. Returns their number. */
export async function recordCaches({ ledger }: Company): Promise<number> {
  const file = new URL('../../../cmd/muniment/internal/demo/caches.csv', import.meta.url);
  const [head = [], ...rows] = readFileSync(file, 'utf8')
    .trim()
    .split('\n', 41)
    .map((line) => line.split(','));
  for (const [service, from, to, samples, ...values] of rows)
    await event(ledger, kim, 'metric-snapshot', {
      service,
      window: { from, to },
      metrics: values.map((value, i) => {
        const [name = '', unit] = (head[4 + i] ?? '').split(' ');
        return { name, value: Number(value), unit, ...(name === 'hit_ratio' && { samples }) };
      }),
    });
  return rows.length;
}

/** An incident whose next step waits for a person. */
export interface Waiting {
  id: string;
  /** The leaf hash of the notice, in hexadecimal digits. */
  leafHash: string;
  /** Records an entry of the executor. */
  record: (action: string, members: object) => Promise<bigint>;
}

/** Records an incident with a step that was taken, one whose undo kept the target, and one that waits. */
export async function recordIncident({ ledger }: Company): Promise<Waiting> {
  const id = 'P1-surge/016a05057c41-3';
  const started = ago(5);
  let key = 0;
  const record = async (action: string, members: object): Promise<bigint> => {
    const document = { incident: id, playbook: 'P1-surge', action, actor: 'conductor@host', started, ...members };
    const submission = {
      kind: 'triage-action',
      idempotencyKey: `incident/${key++}`,
      payload: Buffer.from(JSON.stringify(document)).toString('base64'),
    };
    const answer = await api(ledger, 'LedgerService/Append', { tenant: 'acme', submission });
    return BigInt((answer as { appended: { index: string } }).appended.index);
  };
  const take = async (step: number, action: string, result: string, members: object): Promise<bigint> => {
    const correlation = { alerts: ['ErrorRatioHigh'], traces: ['4bf92f3577b34da6a3ce929d0e0e4736'] };
    const shared = { step, correlation, ...members };
    const index = await record(action, { ...shared, phase: 'intent' });
    const intent = { index: String(index), leafHash: '11'.repeat(32) };
    await record(action, { ...shared, phase: 'outcome', result, finished: ago(4), intent });
    return index;
  };
  const target = { target: 'flag/subs.buffer' };
  const intent = await take(1, 'toggle_flag', 'succeeded', { undo: { action: 'restore', parameters: target } });
  await take(2, 'restore', 'skipped', {
    parameters: target,
    undo: { action: 'toggle_flag' },
    undoes: { index: String(intent), leafHash: '11'.repeat(32) },
  });
  const notice = await record('request-approval', {
    result: 'succeeded',
    irreversible: true,
    parameters: {
      place: 2,
      action: 'raise_limit',
      target: 'limit/gateway',
      parameters: { burst: '400' },
      until: inDays(1),
    },
  });
  const { entry } = (await api(ledger, 'LedgerService/GetEntry', { tenant: 'acme', index: String(notice) })) as {
    entry: { leafHash: string };
  };
  return { id, leafHash: Buffer.from(entry.leafHash, 'base64').toString('hex'), record };
}
