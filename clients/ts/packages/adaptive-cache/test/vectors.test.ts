/** The vectors of names, numbers, sketches and members (spec, section 13). */

import { expect, test } from 'vitest';
import type { Bus, Grant } from '../src/index.js';
import { Member, nameOf, privateScope } from '../src/index.js';
import { hash, shortTag } from '../src/name.js';
import {
  baseLifetime,
  bucket,
  ChangeRecord,
  exponential,
  Histogram,
  refreshes,
  shortened,
  upperEnd,
} from '../src/numbers.js';
import { Sketch } from '../src/sketch.js';
import { vectors } from './vectors.js';

test('names.json', () => {
  const list = vectors('names.json') as Record<
    'resolver' | 'session' | 'arguments' | 'name' | 'tag' | 'hash',
    string
  >[];
  expect(list.length).toBeGreaterThan(5);
  for (const v of list) {
    const name = nameOf(v.resolver, privateScope(v.session) ?? '', v.arguments);
    expect(name).toBe(v.name);
    expect(shortTag(name)).toBe(v.tag);
    expect(hash(v.tag, 0)).toBe(v.hash);
  }
});

interface Numbers {
  exponential: [draw: number, e: number][];
  buckets: [duration: number, bucket: number, end: number][];
  quantiles: { durations: number[]; p95: number; p99: number }[];
  refreshes: { remaining: number; delta: number; beta: number; draw: number; refreshes: boolean; draws: number }[];
  lifetimes: (Record<'minTTL' | 'initialTTL' | 'maxTTL' | 'risk' | 'p95' | 'draw' | 'ttl', number> & {
    observations: { age: number; change: number }[];
  })[];
}

test('numbers.json', () => {
  const v = vectors('numbers.json') as Numbers;
  for (const [draw, e] of v.exponential) expect(exponential(draw), `E(${draw})`).toBe(e);
  for (const [duration, at, end] of v.buckets) {
    expect(bucket(duration)).toBe(at);
    expect(upperEnd(at)).toBe(end);
  }
  for (const { durations, p95, p99 } of v.quantiles) {
    const histogram = new Histogram();
    for (const duration of durations) histogram.add(duration);
    expect([histogram.quantile(95), histogram.quantile(99)]).toEqual([p95, p99]);
  }
  for (const r of v.refreshes) {
    let draws = 0;
    const draw = () => {
      draws++;
      return r.draw;
    };
    expect(refreshes(1_000_000, 1_000_000 + r.remaining, r.delta, r.beta, draw)).toBe(r.refreshes);
    expect(draws).toBe(r.draws);
  }
  for (const l of v.lifetimes) {
    const record = new ChangeRecord();
    for (const { age, change } of l.observations) record.observe(age, change);
    expect(shortened(baseLifetime(l, record, l.p95), l.draw)).toBe(l.ttl);
  }
});

test('sketch.json', () => {
  const list = vectors('sketch.json') as {
    width: number;
    added: string[];
    aged: number[];
    estimates: Record<string, number>;
  }[];
  for (const v of list) {
    const sketch = new Sketch(v.width);
    const aged = v.added.flatMap((name, i) => (sketch.add(hash(name, 0)) ? [i + 1] : []));
    expect(aged).toEqual(v.aged);
    for (const [name, estimate] of Object.entries(v.estimates)) {
      expect(sketch.estimate(hash(name, 0)), name).toBe(estimate);
    }
  }
});

interface Members {
  lease: number;
  slots: number;
  steps: { sent: number; now: number; grant: Grant; state: Record<string, unknown> }[];
}

/** A bus that never answers. */
const silent: Bus = {
  poll: async () => await new Promise<never>(() => undefined),
  invalidate: async () => await new Promise<never>(() => undefined),
};

test('members.json', async () => {
  const v = vectors('members.json') as Members;
  let now = 0;
  const member = new Member({ bus: silent, lease: v.lease / 1000, slots: v.slots, seed: 0, clock: () => now });
  await member.close(); // the test takes the place of its polls
  for (const step of v.steps) {
    now = step.now;
    const renewed = member.grant(step.grant, step.sent);
    const { applied: s, floor, slots } = member.generations;
    const { epoch, applied, leaseEnd } = member;
    const used = Object.fromEntries([...slots.entries()].filter(([, n]) => n > 0).map(([slot, n]) => [`${slot}`, n]));
    const attached = [step.sent - 1, step.sent, leaseEnd].map((at) => member.isAttached(at));
    expect({ renewed, epoch, applied, s, floor, slots: used, leaseEnd, attached }).toEqual(step.state);
  }
});
