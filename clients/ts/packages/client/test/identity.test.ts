/** Identity tokens of CI jobs, from a runner on loopback. */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { IdentityError, jobIdentity } from '../src/index.js';

let stop: (() => void) | undefined;
afterEach(() => stop?.());

/** Starts a runner, and returns the variables that it gives to a job. */
async function runner(answer: (req: IncomingMessage, res: ServerResponse) => void) {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stop = () => server.close();
  const { port } = server.address() as AddressInfo;
  return {
    ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${port}/token?api-version=2.0`,
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'secret',
  };
}

test('GitHub Actions', async () => {
  const asked: string[] = [];
  const environment = await runner((req, res) => {
    asked.push(`${req.url ?? ''} ${req.headers.authorization ?? ''}`);
    res.end(`{"value":"token ${asked.length}"}`);
  });
  const identity = jobIdentity('https://ledger.example', environment);
  expect([await identity(), await identity()]).toEqual(['token 1', 'token 2']);
  expect(asked[0]).toBe('/token?api-version=2.0&audience=https%3A%2F%2Fledger.example Bearer secret');
});

test('GitLab CI', async () => {
  expect(await jobIdentity('a', { MUNIMENT_ID_TOKEN: ' token\n' })()).toBe('token');
});

test.each<[string, (req: IncomingMessage, res: ServerResponse) => void, RegExp]>([
  ['a refusal', (_, res) => res.writeHead(403).end(), /HTTP status 403/],
  ['no token', (_, res) => res.end('{"value":""}'), /no token/],
  ['no JSON', (_, res) => res.end('token'), /no token/],
  ['a large response', (_, res) => res.end(`{"value":"t"}${' '.repeat(1 << 17)}`), /no token/],
  ['a redirect', (_, res) => res.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(), /connection failed/],
])('%s', async (_, answer, message) => {
  const failed = jobIdentity('a', await runner(answer))();
  await expect(failed).rejects.toThrow(IdentityError);
  await expect(failed).rejects.toThrow(message);
});

test.each([
  [{}, /has no identity token/],
  [{ ACTIONS_ID_TOKEN_REQUEST_URL: 'http://runner.example/', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 't' }, /not an https URL/],
  [{ ACTIONS_ID_TOKEN_REQUEST_URL: 'runner', ACTIONS_ID_TOKEN_REQUEST_TOKEN: 't' }, /not an https URL/],
])('the environment %j', async (environment, message) => {
  await expect(jobIdentity('a', environment)()).rejects.toThrow(message);
});
