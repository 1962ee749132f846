import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { LogHealthSchema } from '../../gen/muniment/v1/portal_pb';
import { beginningOfDay, problemsOf, reportsOf, shareOf, totalsOf } from './state';

test('a day begins at midnight of the browser', () => {
  const noon = new Date(2026, 10, 29, 12, 30, 5);
  expect(new Date(beginningOfDay(noon.getTime()))).toEqual(new Date(2026, 10, 29));
});

test('a share of nothing is none', () => {
  expect(shareOf(0n, 0n)).toBeUndefined();
  expect(shareOf(1n, 4n)).toBe(0.25);
});

test('sums have every outcome', () => {
  const stages = [
    { passed: 1n, blocked: 2n, undecided: 3n },
    { passed: 10n, blocked: 20n, undecided: 30n },
  ] as Parameters<typeof totalsOf>[0]['stages'];
  expect(totalsOf({ stages })).toEqual({ passed: 11n, blocked: 22n, undecided: 33n, all: 66n });
  const verifiers = [{ verified: 8n, notVerified: 1n, errors: 1n }] as Parameters<typeof reportsOf>[0]['verifiers'];
  expect(reportsOf({ verifiers })).toEqual({ verified: 8n, all: 10n });
});

describe('the log', () => {
  const texts = (log: Parameters<typeof create<typeof LogHealthSchema>>[1]) =>
    problemsOf(create(LogHealthSchema, { treeSize: 10n, ready: true, ...log })).map(
      ({ tone, text }) => `${tone}: ${text}`,
    );
  test.each([
    ['that is healthy', {}, []],
    ['of a replica, which accepts no appends', { ready: false, replica: true, reason: 'replica' }, []],
    ['that refuses appends', { ready: false, reason: 'too busy' }, ['bad: Appends are refused: too busy']],
    ['with a full disk', { ready: false, diskFull: true, reason: 'x' }, ['bad: The disk is full: appends are refused']],
    [
      'without its quorum',
      { witnessesRequired: true, witnessedSize: 9n, witnesses: [{ name: 'w', size: 9n, lag: 1n }] },
      ['warn: 1 entry without the quorum of witnesses', 'warn: Witness w is 1 entry behind'],
    ],
    ['that no quorum has ever seen', { witnessesRequired: true }, ['warn: 10 entries without the quorum of witnesses']],
    ['whose anchor failed before', { anchors: [{ name: 'a', size: 10n, lag: 0n, failures: 3n }] }, []],
    [
      'whose anchor fails',
      { anchors: [{ name: 'a', size: 4n, lag: 6n, failures: 3n }] },
      ['warn: Anchor a failed, and is 6 entries behind'],
    ],
  ])('%s', (_, log, want) => {
    expect(texts(log)).toEqual(want);
  });
});
