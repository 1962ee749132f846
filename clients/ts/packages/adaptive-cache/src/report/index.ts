/**
 * Records what caches have done in a ledger: an entry of the kind
 * `metric-snapshot` for each cache and window of time.
 */

export { Reporter } from './reporter.js';
export type {
  Append,
  MetricSnapshot,
  ReportedCache,
  ReportedCaches,
  ReporterOptions,
  ReporterStats,
} from './reporter.js';
