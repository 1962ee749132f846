/** Whole caches by the shared scenarios (spec, section 13). */

import { describe, expect, test } from 'vitest';
import type { CacheOptions, Loaded } from '../src/index.js';
import { Cache, changed, Member, nameOf } from '../src/index.js';
import { vectors } from './vectors.js';

interface LoadVector {
  key: string;
  duration: number;
  value?: number;
  absent?: boolean;
  fails?: boolean;
  tags?: string[];
  edges?: string[];
  weight?: number;
}

interface EventVector {
  wait: number;
  invalidate?: string[];
  get?: string;
  loads?: LoadVector[];
  outcome?: string;
  value?: number;
  absent?: boolean;
  ttl?: number;
  hot?: string[];
}

interface Scenario {
  name: string;
  parameters: Record<string, number>;
  draws: number[];
  events: EventVector[];
}

const fullName = (key: string) => nameOf('r', '', key);

/** Runs the cache of one scenario. Its loaders advance the clock. */
class Player {
  now = 1_000_000;
  loads: LoadVector[] = [];
  #drawn = 0;
  readonly member = new Member({ slots: 1024, seed: 0, clock: () => this.now });
  readonly cache: Cache<string, LoadVector>;

  constructor({ parameters: p, draws }: Scenario) {
    const ms = (name: string) => (p[name] === undefined ? undefined : p[name] / 1000);
    const options: CacheOptions<string, LoadVector> = {
      resolver: 'r',
      load: (key) => this.#load(key),
      name: fullName,
      maxWeight: p['maxWeight'] ?? 0,
      weigh: ({ weight = 0 }) => weight,
      change: (old, value) => changed(old.value, value.value),
      ...{ minTTL: ms('minTTL'), initialTTL: ms('initialTTL'), maxTTL: ms('maxTTL') },
      ...{ grace: ms('grace'), negativeTTL: ms('negativeTTL') },
      ...{ beta: p['beta'], width: p['width'], maxHot: p['maxHot'] },
      random: () => draws[this.#drawn++ % draws.length] ?? 0,
    };
    this.cache = new Cache(this.member, options);
  }

  #load(key: string): Loaded<string, LoadVector> {
    const load = this.loads.shift();
    if (load?.key !== key) throw new Error(`load of ${key} instead of ${load?.key ?? 'none'}`);
    this.now += load.duration;
    if (load.fails) throw new Error('failed');
    return { value: load.absent ? undefined : load, tags: load.tags ?? [], edges: load.edges ?? [] };
  }

  async play(event: EventVector): Promise<EventVector> {
    this.now += event.wait;
    this.loads = [...(event.loads ?? [])];
    if (event.invalidate !== undefined) {
      await this.member.invalidate(event.invalidate.map((t) => (t.startsWith('key:') ? fullName(t.slice(4)) : t)));
      return event;
    }
    let outcome: string | undefined;
    const result: EventVector = { wait: event.wait };
    try {
      const value = await this.cache.get(event.get ?? '', (_, how) => (outcome = how));
      if (value === undefined) result.absent = true;
      else if (value.value) result.value = value.value;
    } catch {
      outcome = 'error';
    }
    const { ttl } = this.cache.stats();
    const hot = this.cache.hotNames().sort();
    return { ...result, ...(outcome && { outcome }), ...(ttl && { ttl }), ...(hot.length > 0 && { hot }) };
  }
}

const scenarios = vectors('scenarios.json') as Scenario[];

describe('scenarios.json', () => {
  test.each(scenarios.map((s) => [s.name, s] as const))('%s', async (_, scenario) => {
    const player = new Player(scenario);
    for (const [i, event] of scenario.events.entries()) {
      const { get, loads, ...expected } = event;
      const result = await player.play(event);
      if (get !== undefined) expect(result, `event ${i}: get ${get} ${JSON.stringify(loads)}`).toEqual(expected);
      expect(player.loads, `event ${i}: omitted loads`).toEqual([]);
    }
  });
});
