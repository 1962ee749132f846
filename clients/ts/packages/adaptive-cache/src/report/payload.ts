/** Payloads of the kind metric-snapshot: section 15 of the specification. */

import type { CacheStats } from '../stats.js';

/** A window of time, and what its payloads share. Times are in milliseconds since 1970. */
export interface Span {
  service: string;
  from: number;
  to: number;
  /** Entries about earlier windows that were not recorded. */
  lost: number;
}

type Counter = { [K in keyof CacheStats]: CacheStats[K] extends number ? K : never }[keyof CacheStats];

interface Metric {
  name: string;
  value: number;
  unit: string;
  samples?: string;
}

// A sum of counters each, of which the metric is the growth.
const growths: readonly (readonly [name: string, counters: readonly Counter[]])[] = [
  ['stale_checked', ['hits', 'lateHits', 'refused', 'rejected', 'repeated']],
  ['stale_refused', ['refused', 'rejected', 'repeated']],
  ['invalidations', ['invalidations']],
  ['compared', ['compared']],
  ['differed', ['differed']],
  ['ttl_raised', ['ttlRaised']],
  ['ttl_lowered', ['ttlLowered']],
  ['loads', ['loads']],
  ['failed_loads', ['failed', 'timedOut', 'overloaded']],
  ['bypassed', []], // these caches cannot be switched off
];

/**
 * Returns the payload about what a cache did between two snapshots of its
 * counters, or since its start.
 */
export function payloadOf(span: Span, resolver: string, before: CacheStats | undefined, after: CacheStats): string {
  const grown = (counters: readonly Counter[]) =>
    Math.max(
      0,
      counters.reduce((sum, counter) => sum + after[counter] - (before?.[counter] ?? 0), 0),
    );
  const waits = before === undefined ? after.waits : after.waits.since(before.waits);
  const { reads } = waits;
  const metrics: Metric[] = [];
  if (reads > 0) {
    const samples = String(reads);
    const ratio = (reads - Math.min(grown(['misses']), reads)) / reads;
    metrics.push(
      { name: 'hit_ratio', value: ratio, unit: 'ratio', samples },
      { name: 'wait_p50', value: waits.quantile(50) / 1000, unit: 'ms', samples },
      { name: 'wait_p99', value: waits.quantile(99) / 1000, unit: 'ms', samples },
    );
  }
  for (const [name, counters] of growths) metrics.push({ name, value: grown(counters), unit: '1' });
  metrics.push(
    { name: 'ttl', value: after.ttl / 1000, unit: 'ms' },
    { name: 'load_p99', value: after.p99 / 1000, unit: 'ms' },
    { name: 'entries', value: after.entries, unit: '1' },
    { name: 'hot_keys', value: after.hot, unit: '1' },
    { name: 'lost_entries', value: span.lost, unit: '1' },
  );
  const window = { from: timeOf(span.from), to: timeOf(span.to) };
  return JSON.stringify({ service: `${span.service}/${resolver}`, window, metrics });
}

/** Returns a time by RFC 3339, without zeros at the end of its fraction. */
function timeOf(time: number): string {
  return new Date(time).toISOString().replace(/\.?0*Z$/, 'Z');
}
