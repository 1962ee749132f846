// Measures what a hit and a miss cost: node scripts/bench.js, after a build.

import { Cache, Member, nameOf } from '../dist/index.js';

const READS = 100_000;
const ROUNDS = 20;
const keys = Array.from({ length: 1000 }, (_, i) => `${i}`);

const cacheOf = (options) =>
  new Cache(new Member(), {
    resolver: 'product',
    name: (key) => nameOf('product', '', key),
    load: (key) => ({ value: key, tags: [`Product:${key}`] }),
    maxWeight: 10_000,
    ...options,
  });

/** Returns the best of several rounds, in microseconds for each read. */
async function measure(read) {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const began = process.hrtime.bigint();
    for (let i = 0; i < READS; i++) await read(i);
    best = Math.min(best, Number(process.hrtime.bigint() - began) / 1000 / READS);
  }
  return best;
}

const values = new Map(keys.map((key) => [key, key]));
const cache = cacheOf();
const none = cacheOf({ maxWeight: 16 });
const map = await measure(async (i) => values.get(keys[i % keys.length]));
const hit = await measure((i) => cache.get(keys[i % keys.length]));
const miss = await measure((i) => none.get(keys[i % keys.length]));
console.log(`Node ${process.versions.node}, best of ${ROUNDS} × ${READS} reads`);
for (const [what, cost] of Object.entries({
  'an async function with a Map': map,
  'a hit': hit,
  'a miss, loaded at once': miss,
})) {
  console.log(`${what.padEnd(30)} ${cost.toFixed(2).padStart(6)} µs`);
}
console.log(`overhead of a hit ${(hit - map).toFixed(2)} µs, limit 2 µs`);
