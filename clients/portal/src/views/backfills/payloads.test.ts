import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { rehearsalOf, reportOf } from './payloads';

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

/** The payloads of a real job, as the company of the demo has them. */
function payloads(job: string): Uint8Array[] {
  const file = new URL(`../../../../../cmd/muniment/internal/demo/backfills/${job}.jsonl`, import.meta.url);
  return readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => bytes((JSON.parse(line) as { payload: unknown }).payload));
}

test('reads the reports of a real conductor', () => {
  const reports = payloads('customer-phone').flatMap((payload) => reportOf(payload) ?? []);
  expect(reports).toHaveLength(1);
  expect(reports[0]?.config.threshold).toBe(0.95);
  expect(reports[0]?.results.filter(({ result }) => result === 'fail').map(({ name }) => name)).toEqual([
    'checksum-down',
    'nulls',
  ]);
  expect(payloads('order-total').flatMap((payload) => reportOf(payload) ?? [])).toHaveLength(10);
});

test('reads the rehearsal of a real conductor', () => {
  const [rehearsal] = payloads('order-total').flatMap((payload) => rehearsalOf(payload) ?? []);
  expect(rehearsal?.steps.map(({ name, error }) => [name, error])).toEqual([
    ['cutover', ''],
    ['rollback', ''],
    ['cutover-again', ''],
  ]);
  expect(rehearsal?.steps[0]?.change.held).toBeGreaterThan(1e6);
});

test.each([
  ['nothing', new Uint8Array()],
  ['no UTF-8', new Uint8Array([0xff])],
  ['another document', bytes([])],
  ['another report', bytes({ report: { results: 'none' } })],
  ['too many checks', bytes({ report: { config: { threshold: 1 }, results: Array(97).fill({}) } })],
])('refuses %s', (_, payload) => {
  expect(reportOf(payload)).toBeUndefined();
  expect(rehearsalOf(payload)).toBeUndefined();
});
