/** The burndown of findings as a chart. */

import type { FindingsDay } from '../../gen/muniment/v1/portal_pb';
import type { ChartData } from '../../ui/Chart';

/** Returns the findings that are not resolved, and those that are, over time. */
export function burndownOf(days: readonly FindingsDay[]): ChartData {
  const known = days.filter(({ time }) => time !== undefined);
  const series = (label: string, value: (day: FindingsDay) => bigint) => ({
    label,
    values: known.map((day) => Number(value(day))),
  });
  return {
    times: known.map(({ time }) => Number(time?.seconds ?? 0n)),
    series: [
      series('Not resolved', ({ open, inProgress }) => open + inProgress),
      series('Overdue', ({ overdue }) => overdue),
      series('Resolved', ({ resolved }) => resolved),
    ],
  };
}
