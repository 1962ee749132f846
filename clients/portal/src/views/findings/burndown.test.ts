import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { OverviewFindingsSchema } from '../../gen/muniment/v1/portal_pb';
import { burndownOf } from './burndown';

test('a burndown adds what is in progress to what is open', () => {
  const { days } = create(OverviewFindingsSchema, {
    days: [
      {
        time: { seconds: 86_400n },
        open: 2n,
        inProgress: 1n,
        resolved: 0n,
        overdue: 1n,
      },
      { open: 9n },
      {
        time: { seconds: 172_800n },
        open: 0n,
        inProgress: 1n,
        resolved: 2n,
        overdue: 0n,
      },
    ],
  });
  expect(burndownOf(days)).toEqual({
    times: [86_400, 172_800],
    series: [
      { label: 'Not resolved', values: [3, 1] },
      { label: 'Overdue', values: [1, 0] },
      { label: 'Resolved', values: [0, 2] },
    ],
  });
});
