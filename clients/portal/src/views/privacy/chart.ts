/** The picture of a budget. Exact decimals are rounded for it alone. */

import type { BudgetRecord } from '../../gen/muniment/v1/portal_pb';
import { dateOf } from '../../ui/format';
import type { ChartData } from '../../ui/Chart';

const numberOf = (decimal: string): number | null => (decimal === '' ? null : Number(decimal));

/** Returns what was spent after each export. */
export function chartOf({ spends, limit, measure }: Pick<BudgetRecord, 'spends' | 'limit' | 'measure'>): ChartData {
  const timed = spends.filter(({ time }) => time !== undefined);
  const most = numberOf(limit);
  return {
    times: timed.map(({ time }) => ((time && dateOf(time)?.getTime()) ?? 0) / 1000),
    series: [
      { label: `added up (${measure})`, values: timed.map(({ checked }) => numberOf(checked)) },
      { label: `claimed (${measure})`, values: timed.map(({ claimed }) => numberOf(claimed)) },
    ],
    ...(most !== null && { limit: { label: 'limit', value: most } }),
  };
}
