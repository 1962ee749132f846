/** What connected systems report, as charts. */

import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { BackfillPoint, CachePoint } from '../../gen/muniment/v1/portal_pb';
import type { ChartData } from '../../ui/Chart';
import { formatNumber, formatPercent } from '../../ui/format';

/** Returns the points that have a time, which ascends as charts need it. */
function ascending<Point>(points: readonly Point[], at: (point: Point) => Timestamp | undefined) {
  const known = points.flatMap((point) => {
    const time = at(point);
    return time === undefined ? [] : [{ point, seconds: Number(time.seconds) }];
  });
  return known.sort((a, b) => a.seconds - b.seconds);
}

/** Returns the progress and the canary score over time, both as shares. */
export function backfillTrend(points: readonly BackfillPoint[]): ChartData {
  const known = ascending(points, ({ time }) => time);
  return {
    times: known.map(({ seconds }) => seconds),
    series: [
      { label: 'Done', values: known.map(({ point }) => point.percent / 100) },
      { label: 'Canary score', values: known.map(({ point }) => point.acaScore) },
    ],
    format: formatPercent,
  };
}

function cacheTrend(
  points: readonly CachePoint[],
  label: string,
  value: (point: CachePoint) => number | undefined,
  format: (value: number) => string,
): ChartData | undefined {
  const known = ascending(points, ({ to }) => to);
  const values = known.map(({ point }) => value(point) ?? null);
  if (values.filter((one) => one !== null).length < 2) return undefined;
  return { times: known.map(({ seconds }) => seconds), series: [{ label, values }], format };
}

/** Returns the 99th percentile of the latency, or undefined if there are too few snapshots. */
export const latencyTrend = (points: readonly CachePoint[]): ChartData | undefined =>
  cacheTrend(
    points,
    'p99',
    ({ p99Milliseconds }) => p99Milliseconds,
    (value) => `${formatNumber(value)} ms`,
  );

/** Returns the share of hits, or undefined if there are too few snapshots. */
export const hitTrend = (points: readonly CachePoint[]): ChartData | undefined =>
  cacheTrend(points, 'Hit ratio', ({ hitRatio }) => hitRatio, formatPercent);
