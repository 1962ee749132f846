import { expect, test } from 'vitest';
import { nothing, parseRecord, trustOf } from './record';

const one = 'ledger.example+944bb3ff+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f';
const two = 'ledger.example+992c2808+AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g';

test.each([
  ['no record', null, true],
  ['a record', JSON.stringify({ version: 1, pinned: { key: one, since: 1 } }), true],
  ['not JSON', '{', false],
  ['another version', '{"version":2}', false],
  ['a wrong type', '{"version":1,"pinned":7}', false],
  ['a stream that is none', '{"version":1,"streams":{"acme":"x"}}', false],
])('parse %s', (_, text, isWhole) => {
  expect(parseRecord(text) !== undefined).toBe(isWhole);
});

test('without any key nothing is verified', () => {
  expect(trustOf(nothing, undefined)).toMatchObject({ state: 'none', policies: [] });
  expect(trustOf(nothing, '')).toMatchObject({ state: 'none' });
});

test('the first key is pinned, and another one is not believed', () => {
  expect(trustOf(nothing, one)).toMatchObject({ state: 'first', trusted: one, presented: one });
  const record = { ...nothing, pinned: { key: one, since: 1 } };
  expect(trustOf(record, one)).toMatchObject({ state: 'pinned', trusted: one, since: 1 });
  expect(trustOf(record, undefined)).toMatchObject({ state: 'pinned', trusted: one });
  const changed = trustOf(record, two);
  expect(changed).toMatchObject({ state: 'changed', trusted: one, presented: two });
  expect(changed.policies[0]?.log.hash).toBe('944bb3ff');
});

test('chosen policies replace the pinned key', () => {
  const record = {
    ...nothing,
    pinned: { key: one, since: 1 },
    policies: [{ name: 'policy', text: `log ${two}\nquorum none\n` }],
  };
  const trust = trustOf(record, one);
  expect(trust.state).toBe('chosen');
  expect(trust.policies.map(({ log }) => log.hash)).toEqual(['992c2808']);
  expect(trustOf({ ...record, policies: [{ name: 'policy', text: 'log x' }] }, one)).toMatchObject({
    state: 'none',
    policies: [],
  });
});

test('a key that is none', () => {
  expect(trustOf(nothing, 'x').problem).toMatch(/policy this browser: line 1/);
});
