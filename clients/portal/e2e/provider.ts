/** The real OpenID provider of internal/peers/provider. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';

/** `make test-portal` builds it. */
const program = process.env['PROVIDER'] ?? fileURLToPath(new URL('../../../bin/provider', import.meta.url));

/** How people sign in with the provider. */
export const provider = { client: 'muniment', secret: 's:e&c=r%t', name: 'corp', displayName: 'Example Corp' } as const;

export interface Account {
  sub: string;
  password: string;
}

/** A running provider. */
export class Provider {
  private constructor(
    /** Its address, which is the issuer. */
    readonly url: string,
    readonly process: ChildProcess,
  ) {}

  /** Starts a provider for the portal of a server. */
  static async start(server: string, accounts: readonly Account[]): Promise<Provider> {
    if (!existsSync(program)) throw new Error(`${program} is missing: run 'make test-portal'`);
    const people = accounts.map(({ sub, password }) => `${sub}:${password}`);
    const args = ['-client', provider.client, '-secret', provider.secret, `${server}/portal/callback`, ...people];
    const process = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface(process.stdout)) {
      const url = /^listening on (.*)$/u.exec(line)?.[1];
      if (url !== undefined) return new Provider(url, process);
    }
    throw new Error('the provider has ended');
  }

  async stop(): Promise<void> {
    if (this.process.exitCode !== null) return;
    this.process.kill();
    await once(this.process, 'exit');
  }
}

/** Fills in the form of the provider. */
export async function authenticate(page: Page, { sub, password }: Account): Promise<void> {
  await page.getByLabel('Name').fill(sub);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}
