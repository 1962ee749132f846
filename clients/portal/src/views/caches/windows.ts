/** The windows of caches, of docs/spec/adaptive-cache.md, section 15. */

import * as v from 'valibot';
import type { Entry } from '../../gen/muniment/v1/ledger_pb';
import { parsePayload } from '../../records/payload';
import { dateOf } from '../../ui/format';

/** An entry of kind metric-snapshot about a cache, by its header. */
export interface Window {
  index: bigint;
  /** The service and the resolver. */
  service: string;
  from: Date;
  to: Date;
  /** By name, such as hit_ratio. */
  metrics: ReadonlyMap<string, number>;
}

const prefix = 'metric:';

/** Reads the header of a window. Undefined: it was erased, or it is a snapshot of something else. */
export function windowOf({ index, attributes }: Entry): Window | undefined {
  const metrics = new Map<string, number>();
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith(prefix) && Number.isFinite(Number(value)))
      metrics.set(name.slice(prefix.length), Number(value));
  const { service = '', from = '', to = '' } = attributes;
  const [begin, end] = [dateOf(from), dateOf(to)];
  if (!metrics.has('stale_checked') || service === '' || begin === undefined || end === undefined) return undefined;
  return { index, service, from: begin, to: end, metrics };
}

/** A cache, by some of its windows. */
export interface Cache {
  service: string;
  /** At least one, the latest first. */
  windows: readonly Window[];
  newest: Window;
}

/**
 * Groups windows by their caches, which come in the order of their newest
 * windows.
 *
 * @param newest the newest entry first
 */
export function cachesOf(newest: readonly Window[]): Cache[] {
  const caches = new Map<string, Window[]>();
  for (const window of newest) {
    const of = caches.get(window.service);
    if (of === undefined) caches.set(window.service, [window]);
    else of.push(window);
  }
  return [...caches].flatMap(([service, windows]) => {
    // An entry that waited for the ledger is newer than those of later windows.
    windows.sort((a, b) => b.to.getTime() - a.to.getTime());
    return windows[0] === undefined ? [] : [{ service, windows, newest: windows[0] }];
  });
}

/** Returns the sum of a metric. */
export const sumOf = ({ windows }: Pick<Cache, 'windows'>, name: string): number =>
  windows.reduce((sum, { metrics }) => sum + (metrics.get(name) ?? 0), 0);

const text = v.pipe(v.string(), v.maxLength(256));

const Snapshot = v.object({
  service: text,
  metrics: v.pipe(
    v.array(v.object({ name: text, value: v.number(), unit: text, samples: v.optional(text) })),
    v.maxLength(1024),
  ),
});

export type Snapshot = v.InferOutput<typeof Snapshot>;
export type Metric = Snapshot['metrics'][number];

/** Reads the payload of a window. */
export const snapshotOf = (payload: Uint8Array): Snapshot | undefined => parsePayload(payload, Snapshot);

/** How a window answered from memory. */
export interface Answers {
  /** Reads that were answered from memory. */
  fromMemory: number;
  reads: number;
  /** Checks that allowed an answer. */
  allowed: number;
}

/** Compares the answers of a window with its checks. Undefined: it has no reads. */
export function answersOf({ metrics }: Snapshot): Answers | undefined {
  const ratio = metrics.find(({ name }) => name === 'hit_ratio');
  const valueOf = (wanted: string) => metrics.find(({ name }) => name === wanted)?.value ?? 0;
  const reads = Number(ratio?.samples ?? 0);
  if (ratio === undefined || !(reads > 0)) return undefined;
  return {
    fromMemory: Math.round(ratio.value * reads),
    reads,
    allowed: valueOf('stale_checked') - valueOf('stale_refused'),
  };
}
