/** A real server with the tenant acme. */

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));

/** A running server. Stop it after use. */
export class Server {
  private process: ChildProcess | undefined;
  /** The server's URL. */
  url = '';

  private constructor(
    private readonly folder: string,
    private readonly program: string,
    private readonly name = 'data',
  ) {}

  /** Builds the program, and starts a server with an empty log. */
  static async start(): Promise<Server> {
    const folder = mkdtempSync(join(tmpdir(), 'muniment-client-'));
    const program = join(folder, 'muniment');
    execFileSync('go', ['build', '-trimpath', '-o', program, './cmd/muniment'], { cwd: repository, stdio: 'inherit' });
    const data = join(folder, 'data');
    execFileSync(program, ['init', data, '--origin', 'ledger.example', '--tenant', 'acme'], { stdio: 'pipe' });
    const server = new Server(folder, program);
    await server.resume();
    return server;
  }

  /**
   * Starts two more servers, which keep one log in a database, and returns them
   * with a function that stops them.
   */
  async pair(): Promise<{ servers: [Server, Server]; stop: () => Promise<void> }> {
    const peer = join(this.folder, 'database');
    execFileSync('go', ['build', '-trimpath', '-o', peer, './internal/peers/database'], {
      cwd: repository,
      stdio: 'inherit',
    });
    const database = spawn(peer, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface(database.stdout), 'line')) as [string];
    const one = new Server(this.folder, this.program, 'one');
    const two = new Server(this.folder, this.program, 'two');
    const folder = join(this.folder, 'one');
    execFileSync(this.program, ['init', folder, '--origin', 'ledger.example', '--tenant', 'acme'], { stdio: 'pipe' });
    appendFileSync(join(folder, 'muniment.yaml'), `\nstore: ${line.replace('listening on ', '')}\n`);
    cpSync(folder, join(this.folder, 'two'), { recursive: true });
    const stop = async () => {
      await Promise.all([one.kill(), two.kill()]);
      database.kill('SIGTERM');
      await once(database, 'exit');
    };
    await one.resume();
    await two.resume();
    return { servers: [one, two], stop };
  }

  /** Starts the process again, on the same address. */
  async resume(): Promise<void> {
    const listen = this.url === '' ? '127.0.0.1:0' : new URL(this.url).host;
    const args = ['serve', '--data', join(this.folder, this.name), '--listen', listen, '--log-format', 'json'];
    const child = spawn(this.program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    const seen: string[] = [];
    await new Promise<void>((resolve, reject) => {
      const read = (line: string) => {
        seen.push(line);
        const [, address] = /"url":"http:\/\/(127\.0\.0\.1:\d+)"/.exec(line) ?? [];
        if (address === undefined) return;
        this.url = `http://${address}`;
        resolve();
      };
      for (const output of [child.stdout, child.stderr]) createInterface(output).on('line', read);
      child.on('exit', () => {
        reject(new Error(`the server has ended:\n${seen.join('\n')}`));
      });
    });
  }

  /** Ends the process at once, as a crash does. */
  async kill(): Promise<void> {
    const child = this.process;
    if (child === undefined || child.exitCode !== null) return;
    await new Promise((resolve) => {
      child.on('exit', resolve);
      child.kill('SIGKILL');
    });
  }

  /** The content of a file in the data folder. */
  file(name: string): string {
    return readFileSync(join(this.folder, this.name, name), 'utf8');
  }

  /** Ends the process, and removes its data. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }
}
