import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { BackfillPointSchema, CachePointSchema } from '../../gen/muniment/v1/portal_pb';
import { backfillTrend, hitTrend, latencyTrend } from './trends';

const at = (seconds: number) => ({ seconds: BigInt(seconds), nanos: 0 });

test('times ascend, and points without one are left out', () => {
  const { times, series } = backfillTrend([
    create(BackfillPointSchema, { time: at(20), percent: 50, acaScore: 0.9 }),
    create(BackfillPointSchema, { percent: 75, acaScore: 0.1 }),
    create(BackfillPointSchema, { time: at(10), percent: 25, acaScore: 1 }),
  ]);
  expect(times).toEqual([10, 20]);
  expect(series.map(({ values }) => values)).toEqual([
    [0.25, 0.5],
    [1, 0.9],
  ]);
});

test('a metric that a snapshot lacks is a gap, and too few are no chart', () => {
  const points = [
    create(CachePointSchema, { to: at(1), p99Milliseconds: 12 }),
    create(CachePointSchema, { to: at(2), hitRatio: 0.5 }),
    create(CachePointSchema, { to: at(3), p99Milliseconds: 0 }),
  ];
  expect(latencyTrend(points)?.series[0]?.values).toEqual([12, null, 0]);
  expect(hitTrend(points)).toBeUndefined();
});
