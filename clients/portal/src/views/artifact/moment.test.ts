import { timestampDate } from '@bufbuild/protobuf/wkt';
import { expect, test } from 'vitest';
import { readMoment } from './moment';

test.each([
  '',
  '0',
  '-1',
  '01',
  '1.5',
  '1e3',
  '9999999999999999999',
  '2026-11-29',
  '2026-13-01T00:00:00Z',
  'yesterday',
])('takes %j for now', (text) => {
  expect(readMoment(text)).toBeUndefined();
});

test('reads sizes and times', () => {
  expect(readMoment('8')).toEqual({ case: 'treeSize', value: 8n });
  const moment = readMoment('2026-11-29T14:05:00+01:00');
  expect(moment?.case === 'time' && timestampDate(moment.value).toISOString()).toBe('2026-11-29T13:05:00.000Z');
  expect(readMoment(undefined)).toBeUndefined();
});
