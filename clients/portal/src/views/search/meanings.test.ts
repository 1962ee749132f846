import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { SearchHitSchema } from '../../gen/muniment/v1/portal_pb';
import { hintFor, placeOf } from './meanings';

test.each([
  ['/entries/$index', { case: 'entry', value: 42n } as const],
  ['/artifacts/$digest', { case: 'artifact', value: 'sha256:aa' } as const],
  ['/controls/$id', { case: 'control', value: 'VULN' } as const],
  ['/findings/$id', { case: 'finding', value: 'CVE-1' } as const],
  ['/exceptions/$index', { case: 'exception', value: 3n } as const],
])('a place at %s', (to, target) => {
  expect(placeOf(create(SearchHitSchema, { target }))?.target.to).toBe(to);
});

test('a hit of an unknown type has no place', () => {
  expect(placeOf(create(SearchHitSchema, {}))).toBeUndefined();
});

test.each([
  ['abc', /at least 8 digits/],
  ['ABCDEF0123', /64, 96 or 128 digits. These are 10/],
  ['12345', /your own stream/],
  ['a'.repeat(64), undefined],
  ['gateway', undefined],
])('hint for %s', (query, expected) => {
  if (expected === undefined) expect(hintFor(query)).toBeUndefined();
  else expect(hintFor(query)).toMatch(expected);
});
