import { describe, expect, test } from 'vitest';
import { dateOf, formatBytes, formatDuration, formatRelative, formatTime } from './format';

describe('formatBytes', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [999_600, '1 MB'],
    [1_234_567n, '1.23 MB'],
    [2 ** 53, '9.01 PB'],
  ])('%s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
});

describe('formatRelative', () => {
  const now = Date.UTC(2026, 10, 29, 12);
  test.each([
    [0, 'now'],
    [-59, '59 seconds ago'],
    [-60, '1 minute ago'],
    [-86_399, '23 hours ago'],
    [3 * 86_400, 'in 3 days'],
    [-400 * 86_400, 'last year'],
  ])('%s s', (seconds, text) => {
    expect(formatRelative(new Date(now + seconds * 1000), now)).toBe(text);
  });
});

test.each([
  [0.34, '340 ms'],
  [59, '59 s'],
  [5400, '1.5 h'],
  [1_036_800, '12 d'],
])('formatDuration(%s)', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test('a moment that is none has no date', () => {
  expect(dateOf('yesterday')).toBeUndefined();
  expect(dateOf('2026-11-29T12:00:00Z')?.getTime()).toBe(Date.UTC(2026, 10, 29, 12));
});

test('times are those of the zone', () => {
  expect(formatTime(new Date(2026, 0, 2, 3, 4, 5))).toBe('2026-01-02 03:04:05');
});
