/** The bus over a real Redis. */

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { CacheError, Member } from '../src/index.js';
import { RedisBus } from '../src/redis/index.js';
import { cacheOf } from './rig.js';
import { Redis } from './redisrig.js';

const LEASE = 800;
const redis = new Redis();
const opened: { close: () => unknown }[] = [];
let prefixes = 0;

beforeAll(async () => {
  await redis.start();
});
afterEach(async () => {
  for (const part of opened.splice(0).reverse()) await part.close();
});
afterAll(async () => {
  await redis.close();
});

/** Starts a process: a member with a cache of the common origin. */
async function join(origin: { value: unknown; tags?: string[] }, prefix: string, lease = LEASE) {
  const client = await redis.client();
  const bus = await RedisBus.connect(client, { lease, prefix });
  const member = new Member({ bus, lease });
  opened.push(bus, member);
  return { ...cacheOf(() => ({ ...origin }), {}, member), client };
}

const attached = async (...members: Member[]) => {
  for (const member of members) await expect.poll(() => member.stats().attached, { interval: 5 }).toBe(true);
};

/** Invalidates as an application does: until the bus confirms it. */
async function invalidate(member: Member, tag: string) {
  for (;;) {
    try {
      await member.invalidate([tag]);
      return;
    } catch (error) {
      if (!(error instanceof CacheError)) throw error;
    }
  }
}

test('an invalidation reaches all members before it completes', async () => {
  const prefix = `bus${prefixes++}`;
  const origin = { value: 0, tags: ['type:t'] };
  const [a, b] = [await join(origin, prefix), await join(origin, prefix)];
  await attached(a.member, b.member);
  await a.member.invalidate(['other']); // the epoch is open from then on
  for (let i = 1; i <= 50; i++) {
    for (const { cache } of [a, b]) expect(await cache.get('k')).toBe(i - 1);
    origin.value = i;
    await (i % 2 === 0 ? a : b).member.invalidate([i % 3 === 0 ? 'resolver:r' : 'type:t']);
  }
  expect(a.loads.length + b.loads.length).toBeGreaterThanOrEqual(100);
  await expect.poll(() => a.member.stats().ignoredGrants).toBe(0);
});

test('hits need no server', async () => {
  const { cache, loads, member } = await join({ value: 1 }, `bus${prefixes++}`);
  await attached(member);
  await cache.get('k');
  await expect.poll(async () => [await cache.get('k'), cache.stats().hits > 3]).toEqual([1, true]);
  expect(loads.length).toBeLessThan(10);
});

test('a member that has crashed delays an invalidation until its lease has ended', async () => {
  const prefix = `bus${prefixes++}`;
  const [a, b] = [await join({ value: 0 }, prefix), await join({ value: 0 }, prefix)];
  await attached(a.member, b.member);
  await b.member.close();
  await a.member.invalidate(['t']);
  expect(b.member.stats().attached).toBe(false);
  const fields = await a.client.hGetAll(`{${prefix}}:state`);
  expect(fields).toMatchObject({ head: '1', members: '1', open: '1' });
});

test.each(['FLUSHALL', 'restart'])('a loss of the state flushes the caches: %s', async (loss) => {
  const prefix = `bus${prefixes++}`;
  const origin = { value: 0 };
  const [a, b] = [await join(origin, prefix), await join(origin, prefix)];
  await attached(a.member, b.member);
  expect(await b.cache.get('k')).toBe(0);
  const { flushes } = b.member.stats();
  origin.value = 1;
  if (loss === 'restart') {
    await redis.kill();
    await redis.start();
  } else {
    await a.client.flushAll();
  }
  await invalidate(a.member, 'resolver:r');
  expect(await b.cache.get('k')).toBe(1);
  await expect.poll(() => b.member.stats().flushes).toBeGreaterThan(flushes);
});

test('while the server is down, nothing is cached, and invalidations fail', async () => {
  const { cache, loads, member } = await join({ value: 0 }, `bus${prefixes++}`);
  await attached(member);
  await redis.kill();
  await expect.poll(() => member.stats().attached).toBe(false);
  const before = loads.length;
  for (let i = 0; i < 3; i++) await cache.get('k');
  expect(loads.length - before).toBe(3);
  const call = member.invalidate(['t'], AbortSignal.timeout(50));
  await expect(call).rejects.toMatchObject({ code: 'not-confirmed' });
  await redis.start();
  await attached(member);
});

test.each(['', 'no JSON', '[]', '{}', '[7]', '[""]', JSON.stringify(['x'.repeat(2 ** 20)])])(
  'a poisoned message flushes the caches: %#',
  async (text) => {
    const prefix = `bus${prefixes++}`;
    const { client, member } = await join({ value: 0 }, prefix);
    await attached(member);
    await client
      .multi()
      .hIncrBy(`{${prefix}}:state`, 'head', 1)
      .rPush(`{${prefix}}:log`, text)
      .publish(`{${prefix}}:events`, 'ordered')
      .exec();
    await expect.poll(() => member.stats().damagedMessages).toBe(1);
    expect(member.stats().flushes).toBe(2);
  },
);

test('members with another lease are refused', async () => {
  const prefix = `bus${prefixes++}`;
  const { member } = await join({ value: 0 }, prefix);
  await attached(member);
  const other = await join({ value: 0 }, prefix, LEASE / 2);
  await expect(other.member.invalidate(['t'])).rejects.toMatchObject({
    code: 'not-confirmed',
    cause: { message: expect.stringContaining('another lease') as string },
  });
  expect(other.member.stats().attached).toBe(false);
});
