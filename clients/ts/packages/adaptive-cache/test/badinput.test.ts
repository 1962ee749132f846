/** Faults of applications, clocks and buses. */

import { describe, expect, test } from 'vitest';
import { CacheError, Member, nameOf } from '../src/index.js';
import { cacheOf, Clock, gate, silent } from './rig.js';

const codeOf = async (call: Promise<unknown>) => {
  try {
    await call;
  } catch (error) {
    return error instanceof CacheError ? error.code : error;
  }
  return 'no error';
};

describe('values that throw', () => {
  const fault = new Error('fault');
  const fail = (thrown: unknown) => () => {
    throw thrown;
  };
  const poisoned = Object.defineProperty({}, 'price', { get: fail(fault) }) as { price: number };

  test.each([
    ['a loader that throws', { load: fail(fault) }],
    ['a loader that rejects', { load: async () => await Promise.reject(fault) }],
    ['a result that throws', { load: () => Object.defineProperty({ value: 1 }, 'tags', { get: fail(fault) }) }],
    ['weigh', { load: () => ({ value: 1 }), weigh: fail(fault) }],
    ['name', { load: () => ({ value: 1 }), name: fail(fault) }],
  ])('%s fails the read, and nothing is cached', async (_, { load, ...options }) => {
    const { cache } = cacheOf(load, options);
    for (let i = 0; i < 3; i++) expect(await codeOf(cache.get('a'))).toBe(fault);
    expect(cache.stats()).toMatchObject({ running: 0, entries: 0 });
  });

  test('a comparison that throws fails the load, and the older value stays', async () => {
    const change = (old: unknown) => (old as typeof poisoned).price;
    const { cache, loads } = cacheOf(() => ({ value: poisoned }), { change, grace: 60_000, minTTL: 1, maxTTL: 1 });
    for (let i = 0; i < 50; i++) expect(await cache.get('a')).toBe(poisoned);
    expect(loads.length).toBeLessThan(50);
  });

  test.each([[undefined], ['text'], [{ toString: fail(fault) }], [Object.create(null)]])(
    'a loader that throws no Error: %#',
    async (thrown) => {
      expect(await codeOf(cacheOf(fail(thrown)).cache.get('a'))).toBe('faulty');
    },
  );

  test.each([undefined, null, 7, { value: 1, tags: [7] }, { value: 1, tags: 7 }, { value: 1, edges: 7 }])(
    'a result of another form: %j',
    async (result) => {
      const { cache } = cacheOf(() => result as never);
      expect(await codeOf(cache.get('a'))).toBeInstanceOf(TypeError);
      expect(cache.stats()).toMatchObject({ running: 0, entries: 0, failed: 1 });
    },
  );

  test.each([NaN, Infinity, 'x'])('the weight %s', async (weight) => {
    const { cache } = cacheOf(() => ({ value: 1 }), { weigh: () => weight as number });
    expect(await codeOf(cache.get('a'))).toBeInstanceOf(TypeError);
    expect(cache.stats().weight).toBe(0);
  });
});

describe('loaders that never return', () => {
  const never = async () => await new Promise<never>(() => undefined);

  test('reads fail after the time of a load, and the loads still count', async () => {
    const { cache } = cacheOf(never, { loadTimeout: 1, maxLoads: 2 });
    expect(await Promise.all(['a', 'a', 'b'].map(async (key) => await codeOf(cache.get(key))))).toEqual(
      Array(3).fill('timed-out'),
    );
    expect(await codeOf(cache.get('c'))).toBe('overloaded');
    expect(cache.stats()).toMatchObject({ running: 2, timedOut: 2, overloaded: 1, loads: 2, joined: 1 });
  });

  test('a result after the time is ignored', async () => {
    const { open, opened } = gate();
    let signal: AbortSignal | undefined;
    const { cache } = cacheOf(() => ({ value: 0 }), {
      loadTimeout: 1,
      load: async (_, context) => {
        signal = context.signal;
        await opened;
        return { value: 'late' };
      },
    });
    expect(await codeOf(cache.get('a'))).toBe('timed-out');
    expect(signal?.aborted).toBe(true);
    open();
    await expect.poll(() => cache.stats().running).toBe(0);
    expect(cache.stats().entries).toBe(0);
  });
});

describe('keys and tags without measure', () => {
  const large = 'x'.repeat(2 ** 20);

  test('a key of 1 MB is loaded each time and not cached', async () => {
    const { cache, loads } = cacheOf(() => ({ value: 1 }));
    for (let i = 0; i < 3; i++) expect(await cache.get(large)).toBe(1);
    expect(loads.length).toBe(3);
    expect(cache.stats()).toMatchObject({ entries: 0, uncacheable: 3 });
  });

  test('the limit counts bytes', async () => {
    const { cache, loads } = cacheOf(() => ({ value: 1 }), { maxName: 16 });
    for (const key of ['é'.repeat(5), 'é'.repeat(5), 'é'.repeat(6), 'é'.repeat(6)]) await cache.get(key);
    expect(loads.length).toBe(3);
  });

  test('a tag of 1 MB invalidates', async () => {
    const { cache, loads, member } = cacheOf(() => ({ value: 1, tags: [large] }));
    await cache.get('a');
    await cache.get('a');
    await member.invalidate([large]);
    await cache.get('a');
    expect(loads.length).toBe(2);
  });

  test('an entry with too many tags is not stored', async () => {
    const tags = Array.from({ length: 10_000 }, (_, i) => `t${i}`);
    const { cache, loads } = cacheOf((key) => ({ value: 1, tags: tags.slice(0, Number(key)) }));
    for (const key of ['14', '14', '15', '15', '10000']) await cache.get(key);
    expect(loads.length).toBe(4);
  });
});

describe('clocks that jump', () => {
  test('back: entries from the future are not used', async () => {
    const clock = new Clock();
    const { cache, loads } = cacheOf(() => ({ value: 1 }), {}, new Member({ clock: clock.read }));
    await cache.get('a');
    clock.now -= 1;
    await cache.get('a');
    expect(loads.length).toBe(2);
  });

  test('forward: entries expire', async () => {
    const clock = new Clock();
    const { cache, loads } = cacheOf(() => ({ value: 1 }), {}, new Member({ clock: clock.read }));
    await cache.get('a');
    clock.now += 1e12;
    await cache.get('a');
    expect(loads.length).toBe(2);
  });

  test('a lease does not survive a jump in either direction', async () => {
    const clock = new Clock();
    const member = new Member({ bus: silent, clock: clock.read });
    await member.close();
    member.grant({ epoch: 'e', head: 0, reset: true }, clock.now);
    expect([-1, 0, 2_999_999, 3_000_000].map((by) => member.isAttached(clock.now + by))).toEqual([
      ...[false, true, true, false],
    ]);
  });

  test('during a load: the duration is at least 0', async () => {
    const clock = new Clock();
    const load = () => {
      clock.now -= 500_000;
      return { value: 1 };
    };
    const { cache } = cacheOf(load, {}, new Member({ clock: clock.read }));
    expect(await cache.get('a')).toBe(1);
    expect(cache.stats().p99).toBe(0);
  });
});

describe('poisoned messages of the bus', () => {
  const grants: unknown[] = [
    ...[undefined, null, 7, 'x', [], {}],
    { epoch: 'e', head: -1, reset: true },
    { epoch: 'e', head: 2 ** 60, reset: true },
    { epoch: 'e', head: 1, reset: 'yes' },
    { epoch: ['e'], head: 1, reset: true },
    { epoch: 'e'.repeat(65), head: 1, reset: true },
    { epoch: 'e', head: 1, reset: false, messages: {} },
    { epoch: 'e', head: 1, reset: false, messages: [null] },
    { epoch: 'e', head: 1, reset: false, messages: [{ seq: '1', tags: ['a'] }] },
  ];

  test('a grant of another form renews nothing', async () => {
    const member = new Member({ bus: silent });
    await member.close();
    for (const grant of grants) expect(member.grant(grant, 0), JSON.stringify(grant)).toBe(false);
    expect(member.stats()).toMatchObject({ attached: false, ignoredGrants: grants.length, flushes: 0 });
  });

  test.each([7, [7], [null], {}, [''], ['x'.repeat(2 ** 20)], Array(65).fill('a'), [['a']]])(
    'damaged tags flush the caches: %#',
    async (tags) => {
      const clock = new Clock();
      const member = new Member({ bus: silent, clock: clock.read });
      await member.close();
      member.grant({ epoch: 'e', head: 0, reset: true }, clock.now);
      const { cache, loads } = cacheOf(() => ({ value: 1 }), {}, member);
      for (let i = 0; i < 3; i++) await cache.get('a');
      expect(loads.length).toBe(1);
      expect(member.grant({ epoch: 'e', head: 1, reset: false, messages: [{ seq: 1, tags }] }, clock.now)).toBe(true);
      await cache.get('a');
      expect(loads.length).toBe(2);
      expect(member.stats().damagedMessages).toBe(1);
    },
  );

  test('a bus that throws leaves the member detached: each read reads the origin', async () => {
    const fail = () => {
      throw new Error('no bus');
    };
    const member = new Member({ bus: { poll: fail, invalidate: fail }, lease: 16 });
    const { cache, loads } = cacheOf(() => ({ value: 1 }), {}, member);
    for (let i = 0; i < 3; i++) await cache.get('a');
    expect(loads.length).toBe(3);
    expect(await codeOf(member.invalidate(['a']))).toBe('not-confirmed');
    await expect.poll(() => member.stats().failedPolls).toBeGreaterThan(2);
    await member.close();
  });
});

describe('explosions of cardinality', () => {
  test('memory is bounded by weight, and a working set survives a scan', async () => {
    const { cache, loads } = cacheOf((key) => ({ value: key }), { width: 4096 });
    const used = Array.from({ length: 100 }, (_, i) => `used ${i}`);
    const read = async (prefix: string) => {
      for (let i = 0; i < 20_000; i++) {
        await cache.get(`${prefix} ${i}`);
        await cache.get(used[i % used.length] ?? '');
      }
    };
    await read('warm');
    const before = loads.filter((key) => key.startsWith('used')).length;
    await read('scan');
    const after = loads.filter((key) => key.startsWith('used')).length;
    const { weight, entries, hot } = cache.stats();
    expect(weight).toBeLessThanOrEqual(1000);
    expect([entries, hot]).toEqual([weight, 62]);
    expect(after - before).toBeLessThan(200); // of 20,000 reads
  });

  test('a scan of names that do not exist stores nothing', async () => {
    const { cache } = cacheOf(() => ({ value: undefined }));
    for (let i = 0; i < 1000; i++) expect(await cache.get(`${i}`)).toBeUndefined();
    expect(cache.stats().entries).toBeLessThan(10);
    for (let i = 0; i < 3; i++) await cache.get('often');
    expect(cache.stats().negativeHits).toBe(1);
  });

  test('loads are bounded, and reads beyond fail at once', async () => {
    const { open, opened } = gate();
    const load = async (key: string) => {
      await opened;
      return { value: key };
    };
    const { cache } = cacheOf(load, { maxLoads: 10 });
    const reads = Array.from({ length: 1000 }, async (_, i) => await codeOf(cache.get(`${i}`)));
    expect(cache.stats()).toMatchObject({ running: 10, overloaded: 990 });
    open();
    expect((await Promise.all(reads)).filter((code) => code === 'no error').length).toBe(10);
  });

  test('entries that weigh too much are not stored', async () => {
    const { cache, loads } = cacheOf((key) => ({ value: key }), { weigh: (_, key) => Number(key) });
    for (const key of ['125', '125', '126', '126']) await cache.get(key);
    expect(loads.length).toBe(3);
  });
});

test('private values', async () => {
  const { cache, loads } = cacheOf((key) => ({ value: key }), {
    name: (key) => (key === '' ? undefined : nameOf('r', `p${key}`, '')),
  });
  for (const session of ['alice', 'bob', 'alice', '', '']) expect(await cache.get(session)).toBe(session);
  expect(loads).toEqual(['alice', 'bob', '', '']);
});

test.each([
  { maxWeight: 15 },
  { minTTL: 0 },
  { initialTTL: 500, minTTL: 1000 },
  { maxTTL: 90_000_000 },
  { grace: 0.5 },
  { risk: 501 },
  { beta: NaN },
  { width: 17 },
  { load: undefined as never },
])('the options %j', (options) => {
  expect(() => cacheOf(() => ({ value: 1 }), options)).toThrow(CacheError);
});
