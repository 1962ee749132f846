/** Reports: section 15 of the specification. */

import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Client } from '../../client/src/index.js';
import { ResolverCaches } from '../src/apollo/index.js';
import { Cache, CacheError, changed, Member } from '../src/index.js';
import type { Loaded } from '../src/index.js';
import { payloadOf } from '../src/report/payload.js';
import { Reporter } from '../src/report/index.js';
import type { Append, MetricSnapshot, ReporterOptions } from '../src/report/index.js';
import { cacheOf, Clock } from './rig.js';
import { vectors } from './vectors.js';

interface EventVector {
  wait?: number;
  invalidate?: string;
  get?: string;
  times?: number;
  duration?: number;
  value?: number;
  absent?: boolean;
  fails?: boolean;
}

interface ReportVector {
  name: string;
  service: string;
  resolver: string;
  from: string;
  to: string;
  draw: number;
  lost: number;
  earlier: EventVector[];
  events: EventVector[];
  payload: string;
}

/** Returns a cache of a resolver, and a function that lets it process events. */
function player({ resolver, draw }: ReportVector) {
  const clock = new Clock();
  let event: EventVector = {};
  const cache = new Cache<string, number>(new Member({ clock: clock.read }), {
    ...{ resolver, maxWeight: 1000, change: changed, random: () => draw, name: (key: string) => key },
    load: (): Loaded<string, number> => {
      clock.now += event.duration ?? 0;
      if (event.fails) throw new Error('failed');
      return { value: event.absent ? undefined : event.value };
    },
  });
  const play = async (events: EventVector[]) => {
    for (event of events) {
      clock.now += event.wait ?? 0;
      if (event.invalidate !== undefined) await cache.invalidate(event.invalidate);
      for (let i = 0; event.get !== undefined && i < (event.times ?? 1); i++) {
        await cache.get(event.get).catch((error: unknown) => {
          if (!event.fails) throw error;
        });
      }
    }
  };
  return { cache, play };
}

const reports = vectors('reports.json') as ReportVector[];

test.each(reports.map((v) => [v.name, v] as const))('reports.json: %s', async (_, vector) => {
  const { cache, play } = player(vector);
  await play(vector.earlier);
  const before = cache.stats();
  await play(vector.events);
  const span = {
    ...{ service: vector.service, lost: vector.lost },
    ...{ from: Date.parse(vector.from), to: Date.parse(vector.to) },
  };
  expect(payloadOf(span, vector.resolver, before, cache.stats())).toBe(vector.payload);
});

interface Payload {
  service: string;
  window: { from: string; to: string };
  metrics: { name: string; value: number; unit: string; samples?: string }[];
}

/** A ledger that fails as often as it should. */
class Ledger {
  fault: Error | undefined;
  isSilent = false;
  readonly attempts: MetricSnapshot[] = [];
  readonly recorded: MetricSnapshot[] = [];

  readonly append: Append = async (entry) => {
    this.attempts.push(entry);
    if (this.isSilent) await new Promise<never>(() => undefined);
    if (this.fault !== undefined) throw this.fault;
    this.recorded.push(entry);
    await Promise.resolve();
  };

  get payloads(): Payload[] {
    return this.recorded.map(({ payload }) => JSON.parse(payload) as Payload);
  }
}

const MINUTE = 60_000;

/** Starts a reporter of a cache. */
function start(options: Partial<ReporterOptions> = {}) {
  const clock = new Clock();
  const ledger = new Ledger();
  const { cache } = cacheOf(
    () => {
      clock.now += 100_000;
      return { value: 1 };
    },
    {},
    new Member({ clock: clock.read }),
  );
  const caches = { product: cache };
  const reporter = new Reporter({ append: ledger.append, service: 'shop', caches, windowMs: MINUTE, ...options });
  const read = async (times: number) => {
    for (let i = 0; i < times; i++) await cache.get('a');
  };
  return { cache, ledger, read, reporter };
}

const metric = (payload: Payload | undefined, name: string) => payload?.metrics.find((m) => m.name === name);
const pass = async (milliseconds: number) => {
  await vi.advanceTimersByTimeAsync(milliseconds);
};
const errorOf = async (call: Promise<unknown>) => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof CacheError ? `${error.code}: ${error.message}` : error;
};

describe('a reporter', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('records windows without gaps, and the last one when it is closed', async () => {
    const { cache, ledger, read, reporter } = start();
    await read(10);
    await pass(1.5 * MINUTE);
    await cache.invalidate('a');
    await read(2);
    await reporter.close();
    await reporter.close();
    const [first, second] = ledger.payloads;
    expect([first?.service, second?.service, ledger.recorded.length]).toEqual(['shop/product', 'shop/product', 2]);
    expect(ledger.recorded[0]?.idempotencyKey).not.toBe(ledger.recorded[1]?.idempotencyKey);
    const { from, to } = first?.window ?? { from: '', to: '' };
    expect([Date.parse(to) - Date.parse(from), second?.window.from]).toEqual([MINUTE, to]);
    const values = (payload: Payload | undefined) =>
      ['hit_ratio', 'wait_p50', 'stale_checked', 'stale_refused', 'invalidations', 'loads'].map(
        (name) => metric(payload, name)?.value,
      );
    expect(values(first)).toEqual([0.9, 0, 9, 0, 0, 1]);
    expect(values(second)).toEqual([0.5, 0, 2, 1, 1, 1]);
    expect(metric(first, 'hit_ratio')?.samples).toBe('10');
    expect(metric(first, 'wait_p99')?.value).toBeGreaterThanOrEqual(100);
    expect(metric(first, 'wait_p99')?.value).toBeLessThan(112.5);
    expect(reporter.stats()).toEqual({ recorded: 2, lost: 0, waiting: 0, error: undefined });
    expect(vi.getTimerCount()).toBe(0);
  });

  test('records a window without reads, which has no hit ratio', async () => {
    const { ledger, reporter } = start();
    await reporter.close();
    const [payload] = ledger.payloads;
    expect(payload?.metrics.map(({ name }) => name)[0]).toBe('stale_checked');
    expect(payload?.metrics.length).toBe(15);
    expect(Date.parse(payload?.window.to ?? '')).toBeGreaterThan(Date.parse(payload?.window.from ?? ''));
  });

  test('a wall clock that is set makes no negative window', async () => {
    const { ledger, reporter } = start();
    vi.setSystemTime(Date.now() - 1e9);
    await pass(MINUTE);
    await reporter.close();
    const lengths = ledger.payloads.map(({ window }) => Date.parse(window.to) - Date.parse(window.from));
    expect(lengths).toEqual([MINUTE, 1]);
  });

  test('repeats the same bytes with the same key, ever less often, and counts what is lost', async () => {
    const { ledger, reporter } = start({ queue: 3 });
    ledger.fault = new Error('down');
    await pass(10 * MINUTE + 1000); // one entry is being sent, three wait
    expect(reporter.stats()).toMatchObject({ recorded: 0, lost: 6, waiting: 3, error: ledger.fault });
    expect(new Set(ledger.attempts.map((entry) => JSON.stringify(entry))).size).toBe(1);
    expect(ledger.attempts.length).toBeGreaterThan(9);
    expect(ledger.attempts.length).toBeLessThan(20);
    ledger.fault = undefined;
    expect(await errorOf(reporter.close())).toBe(
      'not-recorded: windows were not recorded in the ledger: 7 of 11 entries: down',
    );
    expect(metric(ledger.payloads.at(-1), 'lost_entries')?.value).toBe(6);
  });

  test('does not repeat what the ledger refuses', async () => {
    const { ledger, reporter } = start();
    ledger.fault = Object.assign(new Error('invalid'), { name: 'ConnectError', code: 3 });
    await pass(MINUTE);
    expect(reporter.stats()).toMatchObject({ lost: 1, waiting: 0 });
    ledger.fault = undefined;
    await pass(MINUTE);
    expect(metric(ledger.payloads[0], 'lost_entries')?.value).toBe(1); // of the second window
    expect(ledger.attempts.length).toBe(2);
    await expect(reporter.close()).rejects.toThrow('1 of 3 entries: invalid');
  });

  test.each([
    ['fails', false],
    ['never answers', true],
  ])('close gives up on a ledger that %s when its signal is aborted', async (_, isSilent) => {
    const { ledger, reporter } = start();
    ledger.fault = new Error('down');
    await pass(MINUTE);
    ledger.isSilent = isSilent;
    const control = new AbortController();
    const closed = errorOf(reporter.close(control.signal));
    await pass(MINUTE);
    control.abort();
    expect(await closed).toBe('not-recorded: windows were not recorded in the ledger: 2 of 2 entries: down');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('an append that throws at once, and counters that throw, do no harm', async () => {
    let fails = true;
    const fail = () => {
      throw new Error('fault');
    };
    const { cache } = cacheOf(() => ({ value: 1 }));
    const caches = { stats: () => (fails ? fail() : { product: cache.stats() }) };
    fails = false;
    const reporter = new Reporter({ append: fail, service: 'shop', caches, windowMs: MINUTE });
    fails = true;
    await pass(MINUTE);
    expect(reporter.stats()).toMatchObject({ lost: 0, error: new Error('fault') });
    fails = false;
    await pass(MINUTE);
    expect(await errorOf(reporter.close(AbortSignal.abort()))).toContain('2 of 2 entries: fault');
  });

  test('records each resolver of a server, also one that is added later', async () => {
    const ledger = new Ledger();
    const caches = new ResolverCaches(new Member());
    const item = caches.resolver('Query.item', {}, () => 1);
    const reporter = new Reporter({ append: ledger.append, service: 'shop', caches });
    await item(undefined, {}, {}, {} as never);
    const other = caches.resolver('Query.other', {}, () => 1);
    for (let i = 0; i < 4; i++) await other(undefined, {}, {}, {} as never);
    await reporter.close();
    expect(ledger.payloads.map((p) => [p.service, metric(p, 'hit_ratio')?.value])).toEqual([
      ['shop/Query.item', 0],
      ['shop/Query.other', 0.75],
    ]);
  });
});

test('a reporter does not keep the process alive', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = timers();
  const { reporter } = start();
  expect(timers()).toBe(before);
  await reporter.close();
});

test.each<[string, Partial<ReporterOptions>]>([
  ['a reporter must have the function append', { append: undefined as never }],
  ['the length of service in bytes must be an integer from 1 to 128, and is 0', { service: '' }],
  ['a reporter must have at least one cache', { caches: {} }],
  ['windowMs must be an integer from 1000 to 86400000, and is 1', { windowMs: 1 }],
  ['queue must be an integer from 1 to 1048576, and is 0', { queue: 0 }],
  [
    'the length of the resolver "" in bytes must be an integer from 1 to 127, and is 0',
    { caches: { '': cacheOf(() => ({ value: 1 })).cache } },
  ],
])('%s', (message, options) => {
  expect(() => start(options)).toThrow(new CacheError('options', message));
});

test('docs/cache.md shows what runs here', () => {
  const page = readFileSync(new URL('../../../../../docs/cache.md', import.meta.url), 'utf8');
  const section = page.slice(page.indexOf('## 6. '), page.indexOf('## 7. '));
  const [, code = ''] = /```ts\n(.*?)```/s.exec(section) ?? [];
  const lines = code.trim().split('\n').slice(2); // after the import
  expect(lines.length).toBeGreaterThan(2);
  const text = readFileSync(new URL(import.meta.url), 'utf8').replaceAll(/^ +/gm, '');
  expect(text).toContain(lines.map((line) => line.trim()).join('\n'));
});

test('a client of the package for ledgers records', async () => {
  const entries: unknown[] = [];
  const client: Pick<Client, 'append'> = {
    append: async (submission) => {
      entries.push(submission.kind);
      return await Promise.resolve({ index: 0n, duplicate: false, receipt: new Uint8Array() });
    },
  };
  const caches = new ResolverCaches(new Member());
  caches.resolver('Query.product', {}, () => 1);
  const reporter = new Reporter({
    append: (entry, call) => client.append(entry, call),
    service: 'shop',
    caches,
  });
  await reporter.close();
  expect(entries).toEqual(['metric-snapshot']);
});
