/** The picture of the checkpoints of a backfill. */

import type { ChartData } from '../../ui/Chart';
import { dateOf, formatPercent } from '../../ui/format';
import { percentOf, type Step } from './steps';

/** Returns the score and the progress of checkpoints over time, the oldest first. The threshold is a line. */
export function chartOf(checkpoints: readonly Step[], threshold: number | undefined): ChartData {
  const known = checkpoints.flatMap(({ time, score, checkpoint }) => {
    const at = time === undefined ? undefined : dateOf(time)?.getTime();
    return at === undefined || score === undefined ? [] : [{ at: at / 1000, score, checkpoint }];
  });
  return {
    times: known.map(({ at }) => at),
    series: [
      { label: 'Canary score', values: known.map(({ score }) => score) },
      { label: 'Done', values: known.map(({ checkpoint }) => percentOf(checkpoint) / 100) },
    ],
    ...(threshold !== undefined && { limit: { label: 'threshold', value: threshold } }),
    format: formatPercent,
  };
}
