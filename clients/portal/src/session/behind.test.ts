import { describe, expect, test } from 'vitest';
import { behindOf, behindText } from './behind';

const now = '2026-11-29T12:00:00.5Z';

describe('how far a server is behind', () => {
  test.each([
    ['the log itself', now, undefined],
    ['a replica that follows', '2026-11-29T11:59:55Z', undefined],
    ['a clock that was corrected', '2026-11-29T12:00:05Z', undefined],
    ['at the limit', '2026-11-29T11:59:30.5Z', undefined],
    ['beyond it', '2026-11-29T11:59:30.499Z', '30 seconds ago'],
    ['minutes', '2026-11-29T11:54:59Z', '5 minutes ago'],
    ['days', '2026-11-26T00:00:00Z', '3 days ago'],
    ['a replica without an entry', '1970-01-01T00:00:00Z', '56 years ago'],
  ])('%s', (_, asOf, text) => {
    const behind = behindOf({ asOf, now, replica: true });
    expect(behind && behindText(behind)).toBe(text);
  });

  test('a server that does not report it', () => {
    expect(behindOf({ now, replica: true })).toBeUndefined();
  });
});
