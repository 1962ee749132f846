/**
 * Seeded histories of two servers over a bus that loses, delays, repeats and
 * damages messages, in virtual time: no read is stale (spec, section 2).
 */

import { ApolloServer } from '@apollo/server';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { History } from './history.js';

const soak = process.env['MUNIMENT_SOAK'];
const base = soak === undefined ? 0 : Number(soak) * 2 ** 20;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Runs a history in virtual time. */
async function run(history: History): Promise<void> {
  const progress = { hasEnded: false };
  const end = history.run().finally(() => (progress.hasEnded = true));
  while (!progress.hasEnded) {
    if (history.usesServers) await new Promise((resolve) => setImmediate(resolve)); // Apollo awaits more than timers
    await vi.advanceTimersToNextTimerAsync();
  }
  await end;
}

test('no read is stale', { timeout: 10_800_000 }, async () => {
  let reads = 0;
  for (let i = 0; i < (soak === undefined ? 50 : 10_000); i++) {
    const history = new History(base + i);
    await run(history);
    expect(history.staleReads(), `seed ${base + i}`).toEqual([]);
    reads += history.reads.length;
  }
  expect(reads).toBeGreaterThan(1000);
});

test('no read of two Apollo Servers is stale', { timeout: 10_800_000 }, async () => {
  const typeDefs = 'type Query { item(id: Int!): Item } type Item { version: Int! }';
  for (let i = 0; i < (soak === undefined ? 3 : 200); i++) {
    const history = new History(base + 2 ** 19 + i, {
      serve: (item) => {
        const server = new ApolloServer({ typeDefs, resolvers: { Query: { item } }, stopOnTerminationSignals: false });
        return async (id) => {
          const { body } = await server.executeOperation({ query: `{ item(id: ${id}) { version } }` });
          if (body.kind !== 'single' || body.singleResult.errors !== undefined) throw new Error('failed');
          return body.singleResult.data?.['item'] as { version: number } | null;
        };
      },
    });
    await run(history);
    expect(history.staleReads(), `seed ${base + 2 ** 19 + i}`).toEqual([]);
    expect(history.reads.length).toBeGreaterThan(10);
  }
});

test.each([
  ['leases four times as long as the bus grants', { memberLease: 4 }],
  ['the use of old loads while detached', { detachedAge: 10 }],
  ['loads that return an old state', { hasOldReads: true }],
  ['invalidation before the change', { isEarly: true }],
])('histories reveal %s', async (_, fault) => {
  let isFound = false;
  for (let seed = 0; seed < 200 && !isFound; seed++) {
    const history = new History(seed, fault);
    await run(history);
    isFound = history.staleReads().length > 0;
  }
  expect(isFound).toBe(true);
});
