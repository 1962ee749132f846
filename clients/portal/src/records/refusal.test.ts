import { Code, ConnectError } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { newKey, refusalOf } from './refusal';

test.each([
  ['payload: expires: must be in the future', 'expires', 'must be in the future'],
  ['submission.payload: scope.globs[0]: too long', 'scope.globs[0]', 'too long'],
  [
    'payload: decision: kim requested exception EXC-1: another person must approve it',
    'decision',
    'kim requested exception EXC-1: another person must approve it',
  ],
  [
    'kind: kind exception-request requires role appender; you have role reader',
    '',
    'kind exception-request requires role appender; you have role reader',
  ],
  ['the disk is full', '', 'the disk is full'],
])('reads %j', (message, field, text) => {
  expect(refusalOf(new ConnectError(message, Code.InvalidArgument))).toEqual({
    field,
    text,
  });
});

test('keys differ', () => {
  expect(newKey()).toMatch(/^[0-9a-f]{32}$/u);
  expect(newKey()).not.toBe(newKey());
});
