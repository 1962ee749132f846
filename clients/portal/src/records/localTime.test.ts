import { expect, test } from 'vitest';
import { fromLocalInput, toLocalInput } from './localTime';

test('inputs of local times keep the minute', () => {
  const date = new Date(2026, 2, 9, 4, 5);
  expect(toLocalInput(date)).toBe('2026-03-09T04:05');
  expect(fromLocalInput(toLocalInput(date))).toEqual(date);
  for (const text of ['', 'x', '2026-03-09', '2026-99-09T04:05']) expect(fromLocalInput(text)).toBeUndefined();
});
