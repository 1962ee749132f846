/** The windows of a cache over time. */

import type { ChartData, Series } from '../../ui/Chart';
import { formatDuration, formatNumber, formatPercent } from '../../ui/format';
import type { Window } from './windows';

/** Returns a chart with a line for each metric. */
function chartOf(
  windows: readonly Window[],
  lines: readonly (readonly [metric: string, label: string])[],
  format: (value: number) => string,
): ChartData {
  const ascending = [...windows].sort((a, b) => a.to.getTime() - b.to.getTime());
  return {
    times: ascending.map(({ to }) => to.getTime() / 1000),
    series: lines.map(([metric, label]): Series => {
      return { label, values: ascending.map(({ metrics }) => metrics.get(metric) ?? null) };
    }),
    format,
  };
}

export const hitChart = (windows: readonly Window[]): ChartData =>
  chartOf(windows, [['hit_ratio', 'Hit ratio']], formatPercent);

export const waitChart = (windows: readonly Window[]): ChartData =>
  chartOf(
    windows,
    [
      ['wait_p50', 'p50 of reads'],
      ['wait_p99', 'p99 of reads'],
      ['load_p99', 'p99 of loads'],
    ],
    (value) => formatDuration(value / 1000),
  );

export const checkChart = (windows: readonly Window[]): ChartData =>
  chartOf(
    windows,
    [
      ['stale_checked', 'Checked'],
      ['stale_refused', 'Refused'],
      ['differed', 'Changed without an invalidation'],
    ],
    formatNumber,
  );

export const changeChart = (windows: readonly Window[]): ChartData =>
  chartOf(
    windows,
    [
      ['invalidations', 'Invalidations'],
      ['ttl_raised', 'Longer lifetimes'],
      ['ttl_lowered', 'Shorter lifetimes'],
      ['hot_keys', 'Hot keys'],
    ],
    formatNumber,
  );
