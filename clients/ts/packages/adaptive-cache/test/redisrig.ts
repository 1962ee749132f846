/** A real Redis, which ends with the test. */

import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from 'redis';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));

/** Returns the path of the server. A missing one is installed, or the test fails. */
function program(): string {
  const peers = join(repository, '.cache/peers');
  mkdirSync(peers, { recursive: true });
  const lock = join(peers, 'redis-server.lock');
  execFileSync('flock', [lock, join(repository, '.ci/peers'), 'redis-server'], { stdio: ['ignore', 'ignore', 'pipe'] });
  return join(peers, 'redis-server');
}

/** A server on a socket in a folder of its own. */
export class Redis {
  readonly folder = mkdtempSync(join(tmpdir(), 'muniment-redis-'));
  readonly socket = join(this.folder, 'redis');
  readonly #program = program();
  readonly #clients: { destroy: () => void }[] = [];
  #process: ChildProcess | undefined;

  /** Starts the server, and waits until it answers. */
  async start(port = 0): Promise<void> {
    const address = ['--bind', '127.0.0.1', '--port', `${port}`, '--unixsocket', this.socket];
    const options = [...address, '--save', '', '--dir', this.folder];
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', this.#program, ...options], { stdio: 'ignore' });
    await (await this.client()).ping();
  }

  /** Starts the server on a free port of the loopback, and returns the port. */
  async listen(): Promise<number> {
    const finder = createServer();
    await new Promise<void>((resolve) => finder.listen(0, '127.0.0.1', resolve));
    const { port } = finder.address() as AddressInfo;
    await new Promise((resolve) => finder.close(resolve));
    await this.start(port);
    return port;
  }

  /** Returns a client, which connects again after each restart. */
  async client() {
    const client = createClient({ socket: { path: this.socket, tls: false, reconnectStrategy: () => 10 } });
    client.on('error', () => undefined);
    await client.connect();
    this.#clients.push(client);
    return client;
  }

  /** Kills the server. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (process === undefined || process.exitCode !== null || process.signalCode !== null) return;
    const ended = new Promise((resolve) => process.once('exit', resolve));
    process.kill('SIGKILL');
    await ended;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }
}
