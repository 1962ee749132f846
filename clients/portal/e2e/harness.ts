/**
 * The portal for tests: the real program with a new data folder, tenants and
 * evidence, and Chromium.
 */

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Browser, BrowserContext, Page, Request } from 'playwright-core';

export { startChromium } from '../../ts/packages/verify/test/chromium.js';

const run = promisify(execFile);

/** The program. `make build` makes it, with the page that `make portal` has built. */
const program = process.env['MUNIMENT'] ?? fileURLToPath(new URL('../../../bin/muniment', import.meta.url));

export type Role = 'appender' | 'reader' | 'approver' | 'auditor' | 'admin';

/** A server with its data folder. */
export class Ledger {
  readonly #tokens = new Map<string, string>();
  #server: ChildProcess | undefined;

  private constructor(
    readonly folder: string,
    readonly tenants: readonly string[],
    readonly flags: readonly string[] = [],
  ) {}

  /** Where the server listens. Another `serve` changes it, unless it keeps the port. */
  url = '';

  /**
   * Makes a log with tenants, and serves it. The first tenant is the default.
   *
   * @param prepare fills the data folder before
   */
  static async start(
    tenants: readonly string[] = ['acme'],
    prepare?: (data: string) => Promise<unknown>,
  ): Promise<Ledger> {
    if (!existsSync(program)) throw new Error(`${program} is missing: run 'make build'`);
    const ledger = new Ledger(mkdtempSync(join(tmpdir(), 'muniment-portal-')), tenants);
    const [first = 'acme', ...others] = tenants;
    await run(program, ['init', ledger.data, '--origin', 'ledger.example.com', '--tenant', first]);
    for (const other of others) await run(program, ['tenant', 'add', other, '--data', ledger.data]);
    await prepare?.(ledger.data);
    await ledger.serve();
    return ledger;
  }

  /** Makes a replica that follows a log for its first tenant, and serves it. */
  static async replicaOf(log: Ledger): Promise<Ledger> {
    const [tenant = 'acme'] = log.tenants;
    const follow = ['--follow', log.url, '--follow-token-file', log.tokenFile(), '--refresh', '1s'];
    const replica = new Ledger(mkdtempSync(join(tmpdir(), 'muniment-portal-')), [tenant], follow);
    const key = `${tenant}=${join(log.data, 'streams', `${tenant}.key`)}`;
    await run(program, ['replica', 'init', replica.data, '--policy', join(log.data, 'policy'), '--tenant', key]);
    await replica.serve();
    return replica;
  }

  get data(): string {
    return join(this.folder, 'data');
  }

  /** Starts the server. Use it after `kill`. */
  async serve(port = 0): Promise<void> {
    const server = spawn(
      program,
      ['serve', '--data', this.data, '--listen', `127.0.0.1:${port}`, '--log-format', 'json', ...this.flags],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    this.#server = server;
    const log: string[] = [];
    this.url = await new Promise<string>((resolve, reject) => {
      server.once('exit', (code) => {
        reject(new Error(`the server ended with ${code}:\n${log.join('\n')}`));
      });
      for (const stream of [server.stdout, server.stderr])
        createInterface(stream).on('line', (line) => {
          log.push(line);
          const { msg, server: name, url } = parse(line);
          if (msg === 'listening' && name === 'api' && url !== undefined) resolve(url);
        });
    });
  }

  /** Ends the server, and keeps the data. */
  async kill(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server?.exitCode !== null || server.signalCode !== null) return;
    server.kill(signal);
    await once(server, 'exit');
  }

  /** Ends the server, and starts it again at the same address. Sessions end. */
  async restart(signal?: NodeJS.Signals): Promise<void> {
    await this.kill(signal);
    await this.serve(Number(new URL(this.url).port));
  }

  /** Stops the server in time, as an overloaded machine does, while something is done. */
  async whilePaused(act: () => Promise<unknown>): Promise<void> {
    this.#server?.kill('SIGSTOP');
    try {
      await act();
    } finally {
      this.#server?.kill('SIGCONT');
    }
  }

  /** Ends the server, and removes the data. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }

  /** Returns the first token of a tenant, which has the role admin. */
  tokenFile(tenant = this.tenants[0] ?? ''): string {
    return join(this.data, 'tokens', `${tenant}.token`);
  }

  /** Returns a token of a tenant for a role. */
  async token(role: Role, tenant = this.tenants[0] ?? ''): Promise<string> {
    const name = `${tenant} ${role}`;
    let token = this.#tokens.get(name);
    token ??= (await this.command(['token', 'issue', `${role}-1`, '--role', role], tenant)).trim();
    this.#tokens.set(name, token);
    return token;
  }

  /** Runs a command for a tenant, with its first token, and returns the output. */
  async command(args: readonly string[], tenant?: string): Promise<string> {
    const env = { ...process.env, MUNIMENT_SERVER: this.url, MUNIMENT_TOKEN_FILE: this.tokenFile(tenant) };
    const { stdout } = await run(program, [...args], { cwd: this.folder, env, maxBuffer: 64 << 20 });
    return stdout;
  }

  /** Writes a file into the folder, and returns its path. */
  file(name: string, content: string | Uint8Array): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    return path;
  }

  /** Appends a document, and returns its index. */
  async append(
    name: string,
    content: string | Uint8Array,
    flags: readonly string[] = [],
    tenant?: string,
  ): Promise<number> {
    const path = this.file(name, content);
    const out = await this.command(['append', path, '--json', '--policy', join(this.data, 'policy'), ...flags], tenant);
    const { index } = JSON.parse(out.split('\n')[0] ?? '') as { index: number };
    return index;
  }
}

interface LogLine {
  msg?: string;
  server?: string;
  url?: string;
}

function parse(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return {};
  }
}

/** What a page has done that it must not do. */
export interface Watched {
  page: Page;
  /** Errors of scripts, of the console and of requests, and requests to other servers. */
  problems: string[];
  /** The calls of the API since the last `calls.length = 0`. */
  calls: string[];
}

/** Refusals that are answers: without a control set, there is none to return. */
const expected = /^404 .*\/muniment\.v1\.GateService\/GetControlSet/;

/** Requests of pages that have not ended. The stream of new entries never does. */
const pending = new WeakMap<Page, Set<Request>>();

/**
 * Opens a page, and watches it.
 *
 * @param others servers that the page may use, too
 */
export async function openPage(context: BrowserContext, ledger: Ledger, others: string[] = []): Promise<Watched> {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const watched: Watched = { page, problems: [], calls: [] };
  watchRequests(page);
  page.on('console', (message) => {
    // Responses have the address, too.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      watched.problems.push(message.text());
  });
  page.on('pageerror', (error) => watched.problems.push(error.stack ?? error.message));
  page.on('request', (request) => {
    const url = request.url();
    if (!['blob:', ledger.url, ...others].some((start) => url.startsWith(start)))
      watched.problems.push(`request to ${url}`);
    const call = /\/(muniment\.v1\.\w+\/\w+)/.exec(url)?.[1];
    if (call !== undefined) watched.calls.push(call);
  });
  page.on('response', (response) => {
    const problem = `${response.status()} ${response.url()}`;
    if (response.status() >= 400 && !expected.test(problem)) watched.problems.push(problem);
  });
  return watched;
}

function watchRequests(page: Page): void {
  const requests = new Set<Request>();
  pending.set(page, requests);
  page.on('request', (request) => {
    if (request.isNavigationRequest()) requests.clear(); // those of the page before
    if (!request.url().endsWith('/WatchEntries')) requests.add(request);
  });
  const ended = (request: Request) => requests.delete(request);
  page.on('requestfinished', ended).on('requestfailed', ended);
}

/** Signs in with a token, as a person without a provider does. */
export async function signIn(page: Page, ledger: Ledger, token: string): Promise<void> {
  await page.goto(`${ledger.url}/portal/signin`);
  await page.getByRole('textbox', { name: 'Token' }).fill(token);
  await page.getByRole('button', { name: 'Sign in with the token' }).click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
}

/** Opens a browser's context in which somebody with the role has signed in. */
export async function signedIn(
  browser: Browser,
  ledger: Ledger,
  { role = 'admin', tenant, ...options }: { role?: Role; tenant?: string } & Parameters<Browser['newContext']>[0] = {},
): Promise<Watched & { context: BrowserContext }> {
  const context = await browser.newContext({ timezoneId: 'Europe/Berlin', locale: 'en-GB', ...options });
  const watched = await openPage(context, ledger);
  await signIn(watched.page, ledger, await ledger.token(role, tenant));
  return { ...watched, context };
}

/**
 * Waits until the view is whole: its heading is there, nothing is loading, and
 * every answer is drawn.
 */
export async function settled(page: Page): Promise<void> {
  const requests = pending.get(page) ?? new Set();
  do {
    while (requests.size > 0) await nextEnd(page);
    await page.locator('main h1').first().waitFor();
    await page.waitForFunction(() => document.querySelector('main [role=status][aria-label]') === null);
    await page.evaluate(async () => {
      await document.fonts.ready;
      // What is drawn may ask for more.
      for (let i = 0; i < 3; i++) await new Promise((resolve) => requestAnimationFrame(resolve));
    });
  } while (requests.size > 0);
}

/** Waits until a request of the page ends. */
async function nextEnd(page: Page): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = () => {
      page.off('requestfinished', done).off('requestfailed', done);
      resolve();
    };
    page.on('requestfinished', done).on('requestfailed', done);
  });
}

const axe = readFileSync(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

/**
 * Returns the violations of WCAG 2.2 AA that axe finds. The page moves to its
 * top: below it, axe takes what the header covers for its neighbour.
 *
 * @param part of the page, as a selector
 */
export async function violations(page: Page, part = 'html'): Promise<string[]> {
  await page.evaluate(() => {
    scrollTo({ top: 0, behavior: 'instant' });
  });
  await page.waitForFunction(() => scrollY === 0);
  await page.evaluate(axe);
  return await page.evaluate(async (part) => {
    const { run } = (globalThis as unknown as { axe: typeof import('axe-core') }).axe;
    const { violations } = await run(part, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    });
    return violations.flatMap(({ id, nodes }) =>
      nodes.map((node) => `${id}: ${node.html} ${node.failureSummary ?? ''}`),
    );
  }, part);
}
