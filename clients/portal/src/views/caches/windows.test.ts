import { create } from '@bufbuild/protobuf';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { EntrySchema, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { checkChart, hitChart } from './charts';
import { answersOf, cachesOf, snapshotOf, sumOf, windowOf } from './windows';

/** The windows of the demo's company, as headers have them, the oldest first. */
function recorded(): Entry[] {
  const file = new URL('../../../../../cmd/muniment/internal/demo/caches.csv', import.meta.url);
  const [head = [], ...rows] = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(','));
  return rows.map(([service = '', from = '', to = '', , ...values], index) =>
    create(EntrySchema, {
      index: BigInt(index),
      attributes: {
        service,
        from,
        to,
        ...Object.fromEntries(values.map((value, i) => [`metric:${(head[4 + i] ?? '').split(' ')[0] ?? ''}`, value])),
      },
    }),
  );
}

test('groups the windows of a company by its caches', () => {
  const windows = recorded().flatMap((entry) => windowOf(entry) ?? []);
  const caches = cachesOf(windows.reverse());
  expect(caches.map(({ service }) => service).sort()).toEqual(['checkout/Query.price', 'search/Query.suggest']);
  for (const cache of caches) {
    expect(cache.newest.to.toISOString().slice(0, 10)).toBe('2000-01-16');
    expect(sumOf(cache, 'stale_checked')).toBeGreaterThan(600_000);
    expect(sumOf(cache, 'differed')).toBe(0);
    expect(sumOf(cache, 'unknown')).toBe(0);
    const { times } = hitChart(cache.windows);
    expect([...times].sort((a, b) => a - b)).toEqual(times);
  }
});

const attributes = { service: 'shop/product', from: '2026-05-03T09:00:00Z', to: '2026-05-03T09:05:00Z' };

test('a window without reads has no hit ratio, and is a gap in its line', () => {
  const window = windowOf(create(EntrySchema, { attributes: { ...attributes, 'metric:stale_checked': '0' } }));
  expect(window?.metrics.get('hit_ratio')).toBeUndefined();
  expect(window && hitChart([window]).series[0]?.values).toEqual([null]);
  expect(window && checkChart([window]).series.map(({ values }) => values)).toEqual([[0], [null], [null]]);
});

test.each([
  ['an erased entry', {}],
  ['a snapshot of something else', { ...attributes, 'metric:cache_hit_ratio': '0.9' }],
  ['no number', { ...attributes, 'metric:stale_checked': 'many' }],
  ['no time', { ...attributes, to: 'soon', 'metric:stale_checked': '1' }],
])('refuses %s', (_, of) => {
  expect(windowOf(create(EntrySchema, { attributes: of }))).toBeUndefined();
});

const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const payload = (ratio: number, checked: number, refused: number) => ({
  service: 'shop/product',
  metrics: [
    { name: 'hit_ratio', value: ratio, unit: 'ratio', samples: '120344' },
    { name: 'stale_checked', value: checked, unit: '1' },
    { name: 'stale_refused', value: refused, unit: '1' },
  ],
});

test('compares answers from memory with the checks that allowed them', () => {
  const snapshot = snapshotOf(bytes(payload(0.95, 114_330, 3)));
  expect(snapshot && answersOf(snapshot)).toEqual({ fromMemory: 114_327, reads: 120_344, allowed: 114_327 });
  const empty = snapshotOf(bytes({ service: 'shop/product', metrics: [] }));
  expect(empty && answersOf(empty)).toBeUndefined();
});

test.each([
  ['nothing', new Uint8Array()],
  ['no UTF-8', new Uint8Array([0xff])],
  ['another document', bytes([])],
  ['a value that is none', bytes({ service: 'a/b', metrics: [{ name: 'hit_ratio', value: 'high', unit: 'ratio' }] })],
  ['too many metrics', bytes({ service: 'a/b', metrics: Array(1025).fill({ name: 'a', value: 1, unit: '1' }) })],
])('refuses the payload %s', (_, document) => {
  expect(snapshotOf(document)).toBeUndefined();
});
