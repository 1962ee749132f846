/** Two Apollo Servers in processes of their own, over a real Redis. */

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Redis } from './redisrig.js';

const soak = process.env['MUNIMENT_SOAK'];
const ITEMS = 3;
const ROUNDS = soak === undefined ? 60 : 1000;
const redis = new Redis();
const servers: Server[] = [];

beforeAll(async () => {
  await redis.start();
});
afterAll(async () => {
  for (const server of servers) await server.kill();
  await redis.close();
});

/** A server in a process, which can be killed and started again. */
class Server {
  #process: ChildProcess | undefined;
  #url = '';
  #seed: number;

  constructor(seed: number) {
    this.#seed = seed;
    servers.push(this);
  }

  async start(): Promise<void> {
    const script = fileURLToPath(new URL('apolloserver.js', import.meta.url));
    const command = [process.execPath, script, redis.socket, `${this.#seed++}`];
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    const [url] = (await Promise.race([once(createInterface(child.stdout), 'line'), once(child, 'exit')])) as unknown[];
    if (typeof url !== 'string') throw new Error('the server has ended');
    this.#url = url;
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Returns the data of the answer, or undefined if the server was killed. */
  async ask(query: string): Promise<Record<string, unknown> | undefined> {
    const body = JSON.stringify({ query });
    const request = fetch(this.#url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    const answer = await request.then(async (res) => (await res.json()) as unknown).catch(() => undefined);
    const { data, errors } = (answer ?? {}) as { data?: Record<string, unknown>; errors?: unknown };
    expect(errors).toBeUndefined();
    return data;
  }
}

test('no read of two processes is stale, and one of them is killed and started again', async () => {
  const seed = 1 + (soak === undefined ? 0 : Number(soak) % 2 ** 30);
  const [first, second] = [new Server(2 * seed), new Server(2 * seed + 2 ** 30)] as const;
  await Promise.all([first.start(), second.start()]);
  const floors = Array.from({ length: ITEMS }, () => 0); // by item, the version of the last completed change
  const stale: string[] = [];
  let [reads, changes, answers] = [0, 0, 0];
  const read = async (server: Server, id: number) => {
    const floor = floors[id] ?? 0;
    const data = await server.ask(`{ item(id: ${id}) { version } }`);
    if (data === undefined) return;
    const { version } = (data['item'] ?? { version: 0 }) as { version: number };
    if (version < floor) stale.push(`item ${id}: ${version} after ${floor}`);
    reads++;
  };
  const change = async (server: Server, id: number) => {
    const data = await server.ask(`mutation { change(id: ${id}) { version } }`);
    if (data === undefined) return;
    const { version } = data['change'] as { version: number };
    floors[id] = Math.max(floors[id] ?? 0, version);
    changes++;
  };
  let done = 0;
  const client = async (server: Server, own: number) => {
    for (let i = 0; i < ROUNDS; i++, done++) {
      await (i % 8 === own ? change(server, i % ITEMS) : read(server, (i + own) % ITEMS));
    }
  };
  const clients = Promise.all([0, 1, 2, 3].map((own) => client(own % 2 === 0 ? first : second, own)));
  await expect.poll(() => done).toBeGreaterThan(ROUNDS);
  await second.kill();
  await change(first, 0); // waits for the lease of the process that was killed
  await second.start();
  await clients;
  for (let id = 0; id < ITEMS; id++) {
    await change(first, id);
    await read(second, id);
    await read(second, id);
  }
  answers = Number((await second.ask('{ hits }'))?.['hits']);
  expect(stale).toEqual([]);
  expect(reads).toBeGreaterThan(ROUNDS);
  expect(changes).toBeGreaterThan(ITEMS);
  expect(answers).toBeGreaterThan(0);
});
