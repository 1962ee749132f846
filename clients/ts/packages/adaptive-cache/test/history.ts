/** One seeded run of two servers over a lossy bus, and what happened in it. */

import { ResolverCaches } from '../src/apollo/index.js';
import type { Target } from '../src/apollo/index.js';
import { tagsOfTarget } from '../src/apollo/targets.js';
import type { Bus, Grant, Poll } from '../src/index.js';
import { LocalBus, Member } from '../src/index.js';

const LEASE = 96;
const KEYS = 3;

interface Item {
  version: number;
}

type Fetch = (id: number) => Promise<Item | null>;
type ItemResolver = (source: unknown, args: { id: number }, context: object, info: never) => Promise<Item | null>;

interface Faults {
  /** The lease of members, in leases of the bus. */
  memberLease?: number;
  /** The age of loads that are used while detached, in leases. */
  detachedAge?: number;
  /** Loaders return the state before the last change. */
  hasOldReads?: boolean;
  /** Writers invalidate before the change. */
  isEarly?: boolean;
  /** Serves a resolver. The default calls it. */
  serve?: (item: ItemResolver) => Fetch;
}

/** A generator of numbers from 0 to 1 (mulberry32). */
function randomOf(seed: number): () => number {
  let state = ((seed % 2 ** 32) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b1)) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const never = async () => await new Promise<never>(() => undefined);

/** The bus as one process sees it. */
class Network implements Bus {
  cutUntil = 0;

  constructor(private readonly history: History) {}

  /** Passes a message in one direction. */
  async #send(): Promise<void> {
    const h = this.history;
    if (h.chance(0.5)) await h.pause(LEASE / 2);
    if (h.chance(h.loss) || performance.now() < this.cutUntil) await never();
  }

  async #call<T>(call: (bus: LocalBus) => Promise<T>): Promise<T> {
    const h = this.history;
    await this.#send();
    const { bus } = h;
    if (h.chance(h.loss)) {
      setTimeout(() => {
        call(bus).catch(() => undefined); // a late copy, whose answer is lost
      }, h.random() * LEASE);
    }
    const answer = await call(bus);
    if (bus !== h.bus) await never(); // the bus has stopped
    await this.#send();
    return answer;
  }

  async poll(poll: Poll): Promise<Grant> {
    const grant = await this.#call(async (bus) => await bus.poll(poll, new AbortController().signal));
    return this.history.chance(this.history.loss / 4) ? this.#damage(grant) : grant;
  }

  #damage(grant: Grant): Grant {
    const [first, ...rest] = grant.messages ?? [];
    const kind = Math.floor(this.history.random() * 5);
    if (kind === 0) return { ...grant, epoch: '' };
    if (grant.reset) return grant; // its head is all that a member learns, and cannot be checked
    if (kind === 1 || first === undefined) return { ...grant, head: grant.head + 1 };
    if (kind === 2) return { ...grant, messages: rest };
    return { ...grant, messages: [{ ...first, tags: kind === 3 ? [] : ['x'.repeat(300)] }, ...rest] };
  }

  async invalidate(tags: readonly string[]): Promise<void> {
    await this.#call(async (bus) => {
      await bus.invalidate(tags);
    });
  }
}

/** A server, which crashes at times. */
interface Server {
  network: Network;
  member: Member;
  fetch: Fetch;
}

/** One seeded run. Operations are ordered by ticks. */
export class History {
  readonly random: () => number;
  readonly loss: number;
  readonly usesServers: boolean;
  readonly reads: { key: number; call: number; end: number; version: number | null }[] = [];
  readonly invalidations: { key: number; call: number; end: number }[] = [];
  readonly changes = Array.from({ length: KEYS }, () => [{ tick: 0, version: 0 }]);
  bus: LocalBus;
  #tick = 0;
  #servers: Server[] = [];

  constructor(
    seed: number,
    private readonly faults: Faults = {},
  ) {
    this.random = randomOf(seed);
    this.loss = [0, 0.05, 0.3][Math.floor(this.random() * 3)] ?? 0;
    this.usesServers = faults.serve !== undefined;
    this.bus = new LocalBus({ lease: LEASE, window: 8 });
  }

  chance(p: number): boolean {
    return this.random() < p;
  }

  /** Waits for up to the time. */
  async pause(most: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.random() * most));
  }

  /** Runs two servers with four clients each. */
  async run(): Promise<void> {
    this.#servers = [this.#boot(), this.#boot()];
    const running = { clients: 8 };
    const disturb = this.#disturb(() => running.clients > 0);
    const clients = Array.from({ length: running.clients }, async (_, i) => {
      await this.#client(i % 2);
      running.clients--;
    });
    await Promise.all(clients);
    await disturb;
    for (const { member } of this.#servers) await member.close();
  }

  #boot(): Server {
    const network = new Network(this);
    const rate = 1 + (this.random() - 0.5) / 10; // of its clock
    const member = new Member({
      bus: network,
      lease: LEASE * (this.faults.memberLease ?? 1),
      detachedAge: LEASE * (this.faults.detachedAge ?? 0),
      slots: 16,
      seed: Math.floor(this.random() * 2 ** 32),
      clock: () => Math.floor(performance.now() * 1000 * rate),
    });
    const caches = new ResolverCaches(member);
    const item: ItemResolver = caches.resolver<unknown, { id: number }, Item>(
      'Query.item',
      {
        ...{ minTTL: 10, initialTTL: 1000, grace: 1000, beta: 4096, maxLoads: 16, loadTimeout: 300, maxWeight: 16 },
        types: ['Item'],
        entities: (_, { id }) => [['Item', id]],
        tags: (_, { id }) => [`id:${id}`],
      },
      async (_, { id }) => await this.#load(id),
    );
    const call: Fetch = async (id) => await item(undefined, { id }, {}, undefined as never);
    return { network, member, fetch: this.faults.serve?.(item) ?? call };
  }

  #version(key: number, tick: number): number {
    return this.changes[key]?.filter((change) => change.tick <= tick).at(-1)?.version ?? 0;
  }

  /** Reads the origin after a while. Odd versions are absent. */
  async #load(key: number): Promise<Item | null> {
    if (this.chance(0.5)) await this.pause(LEASE / 2);
    const list = this.changes[key] ?? [];
    const version = (this.faults.hasOldReads ? list.at(-2) : list.at(-1))?.version ?? 0;
    if (this.chance(0.2)) await this.pause(2 * LEASE);
    if (this.chance(0.04)) throw new Error('a loader that fails');
    if (this.chance(0.02)) await this.pause(10 * LEASE);
    return version % 2 === 1 ? null : { version };
  }

  async #client(at: number): Promise<void> {
    for (let i = 0; i < 16; i++) {
      await this.pause(LEASE / 2);
      const key = Math.floor(this.random() * KEYS);
      if (this.chance(0.25)) await this.#write(at, key);
      else await this.#read(at, key);
    }
  }

  async #read(at: number, key: number): Promise<void> {
    const server = this.#servers[at];
    const call = ++this.#tick;
    const result = await server?.fetch(key).catch(() => undefined);
    if (result === undefined || server !== this.#servers[at]) return; // failed, or ended with its process
    this.reads.push({ key, call, end: ++this.#tick, version: result?.version ?? null });
  }

  /** Changes a key, and invalidates it until the bus confirms that. Some give up. */
  async #write(at: number, key: number): Promise<void> {
    const server = this.#servers[at];
    const change = () => {
      const list = this.changes[key] ?? [];
      const version = (list.at(-1)?.version ?? 0) + 1 + Math.floor(this.random() * 2);
      list.push({ tick: ++this.#tick, version });
    };
    if (!this.faults.isEarly) change();
    await this.pause(LEASE / 4);
    const targets: Target[] = [{ type: 'Item' }, { operation: 'Query.item' }, { tag: `id:${key}` }];
    const target = targets[Math.floor(this.random() * targets.length)] ?? { type: 'Item' };
    const call = ++this.#tick;
    for (;;) {
      const control = new AbortController();
      const timer = setTimeout(() => {
        control.abort();
      }, 3 * LEASE);
      const isConfirmed = await server?.member.invalidate(tagsOfTarget(target), control.signal).then(
        () => true,
        () => false,
      );
      clearTimeout(timer);
      if (server !== this.#servers[at] || this.chance(0.05)) return;
      if (isConfirmed === true) break;
    }
    if (this.faults.isEarly) change();
    // The version that it ends is that of its start, or of the late change.
    this.invalidations.push({ key, call: this.faults.isEarly ? this.#tick : call, end: ++this.#tick });
  }

  /** Cuts servers off, replaces them and restarts the bus at times. */
  async #disturb(isRunning: () => boolean): Promise<void> {
    while (isRunning()) {
      await this.pause(5 * LEASE);
      const at = this.chance(0.5) ? 0 : 1;
      const server = this.#servers[at];
      if (server !== undefined && this.chance(0.3)) {
        server.network.cutUntil = performance.now() + this.random() * 5 * LEASE;
      }
      if (server !== undefined && this.chance(0.1)) {
        this.#servers[at] = this.#boot();
        await server.member.close();
      }
      if (this.chance(0.1)) this.bus = new LocalBus({ lease: LEASE, window: 8 }, false);
    }
  }

  /**
   * Returns the reads whose value was not current at any time after the start
   * of the latest completed invalidation that ended before they began.
   */
  staleReads(): unknown[] {
    return this.reads.filter(({ key, call, end, version }) => {
      const completed = this.invalidations.filter((i) => i.key === key && i.end < call);
      const floor = Math.max(0, ...completed.map((i) => this.#version(key, i.call)));
      const most = this.#version(key, end);
      const current = this.changes[key]?.filter((c) => c.version >= floor && c.version <= most) ?? [];
      return !current.some((c) => (c.version % 2 === 1 ? version === null : version === c.version));
    });
  }
}
