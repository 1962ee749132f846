/** The client against a real server. */

import { readFileSync } from 'node:fs';
import { parseConfiguration, parsePolicy, verifyReceipt } from '@muniment/verify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ResolverCaches } from '../../adaptive-cache/src/apollo/index.js';
import { Member } from '../../adaptive-cache/src/index.js';
import { Reporter } from '../../adaptive-cache/src/report/index.js';
import { Client, Code, ConnectError, type ClientOptions, type Fetch } from '../src/index.js';
import { Server } from './server.js';

let server: Server;
const options = (more: Partial<ClientOptions> = {}): ClientOptions => ({
  server: server.url,
  token: server.file('tokens/acme.token').trim(),
  policies: [parsePolicy('policy', server.file('policy'))],
  ...more,
});
const vectors = new URL('../../../../../docs/spec/vectors/receipts.json', import.meta.url);
const other = (JSON.parse(readFileSync(vectors, 'utf8')) as { policies: { log: string } }).policies.log;
const text = (payload: string) => ({ kind: 'attestation', mediaType: 'text/plain', payload });

beforeAll(async () => {
  server = await Server.start();
});
afterAll(async () => {
  await server.stop();
});

test('append, get, payload and receipt', async () => {
  const client = new Client(options());
  expect(client.tenant).toBe('acme');
  const first = await client.append(text('the release was approved'));
  const again = await client.append(text('the release was approved'));
  expect(first.duplicate).toBe(false);
  expect(again).toMatchObject({ index: first.index, duplicate: true });
  expect(await client.get(first.index)).toMatchObject({ kind: 'attestation', mediaType: 'text/plain' });
  let payload = '';
  for await (const chunk of client.payload(first.index)) payload += new TextDecoder().decode(chunk);
  expect(payload).toBe('the release was approved');
  const configuration = await parseConfiguration(
    '{"trustPolicy":"policy"}',
    new Map([['policy', new TextEncoder().encode(server.file('policy'))]]),
  );
  const content = await client.receipt(first.index, { includePayload: true });
  const report = await verifyReceipt(configuration, { name: 'r', content }, { expect: { tenant: 'acme' } });
  expect(report).toMatchObject({ verdict: 'verified', proven: { index: Number(first.index) } });
  expect(await client.whoAmI()).toMatchObject({ tenant: 'acme' });
});

test('a client of several servers reads what it wrote', async () => {
  const { servers, stop } = await server.pair();
  try {
    const asked: bigint[] = [];
    const balanced: Fetch = (url, request) => {
      asked.push(BigInt(new Headers(request?.headers).get('muniment-min-size') ?? 0));
      const [one, two] = servers;
      const next = asked.length % 2 === 0 ? one : two;
      return fetch((url as string).replace(one.url, next.url), request);
    };
    const token = servers[0].file('tokens/acme.token').trim();
    const client = new Client({ server: servers[0].url, token, fetch: balanced });
    let last = 0n;
    for (let n = 0; n < 10; n++) {
      // three calls: each is answered by the one and by the other
      const { index } = await client.append(text(`entry ${String(n)}`));
      expect(await client.get(index)).toMatchObject({ index });
      const { treeSize } = await client.ledger.getCheckpoint({});
      expect(treeSize > index && treeSize > last).toBe(true);
      last = treeSize;
    }
    expect(asked).toEqual([...asked].sort((a, b) => Number(a - b)));
    expect(asked.at(-1)).toBe(last);
  } finally {
    await stop();
  }
}, 120_000);

test('a client asks for the largest size that a server has stated', async () => {
  const stated = ['7', 'x', '123456789012345678901', '', '5', '9', '1'];
  const asked: (string | null)[] = [];
  const send: Fetch = (_, request) => {
    asked.push(new Headers(request?.headers).get('muniment-min-size'));
    const headers = { 'content-type': 'application/proto', 'muniment-size': stated[asked.length - 1] ?? '' };
    return Promise.resolve(new Response(new Uint8Array(), { headers }));
  };
  const client = new Client({ server: 'https://ledger.example', tenant: 'acme', fetch: send });
  for (const size of stated) await client.whoAmI().then(() => size);
  expect(asked).toEqual([null, '7', '7', '7', '7', '7', '9']);
});

test('a batch has a result for each submission', async () => {
  const client = new Client(options());
  const [first, refused, last] = await client.appendBatch([
    text('a'),
    { ...text('b'), kind: 'no-such-kind' },
    text('a'),
  ]);
  expect(first).toMatchObject({ duplicate: false });
  expect(refused?.error).toMatchObject({ code: Code.InvalidArgument });
  expect(last).toMatchObject({ duplicate: true });
});

test('reports of caches are entries, unless the server refuses them', async () => {
  const client = new Client(options());
  const caches = new ResolverCaches(new Member());
  const item = caches.resolver('Query.item', {}, () => 1);
  const start = (append: Client['append']) => new Reporter({ append, service: 'shop', caches });
  const [reporter, refused] = [
    start((entry, call) => client.append(entry, call)),
    start((entry, call) => client.append({ ...entry, payload: '{}' }, call)),
  ];
  for (let i = 0; i < 4; i++) await item(undefined, {}, {}, {} as never);
  await reporter.close(AbortSignal.timeout(60_000));
  await expect(refused.close()).rejects.toMatchObject({ code: 'not-recorded', cause: { code: Code.InvalidArgument } });
  const filter = { kind: 'metric-snapshot', attribute: 'metric:hit_ratio=0.75' };
  const found: bigint[] = [];
  for await (const { index } of client.list(filter)) found.push(index);
  expect(found).toHaveLength(1);
});

test('a stream is larger than a chunk', async () => {
  const client = new Client(options());
  const sent: number[] = [];
  const payload = new Blob(['scan result\n'.repeat(300_000)]);
  const { index } = await client.appendStream({
    ...text(''),
    payload,
    onProgress: (bytes) => sent.push(bytes),
  });
  expect(sent).toEqual([1 << 20, 2 << 20, 3 << 20, payload.size]);
  let size = 0;
  for await (const chunk of client.payload(index)) size += chunk.length;
  expect(size).toBe(payload.size);
});

test('list and watch', async () => {
  const client = new Client(options());
  for (const name of ['x', 'y', 'z']) await client.append(text(`listed ${name}`));
  const listed: bigint[] = [];
  for await (const { index } of client.list({ kind: 'attestation' }, { pageSize: 2, oldestFirst: true }))
    listed.push(index);
  expect(listed.length).toBeGreaterThan(3);
  expect(listed).toEqual([...listed].sort((a, b) => Number(a - b)));
  const stop = new AbortController();
  const watched: bigint[] = [];
  for await (const { entry } of client.watch(0, { kind: 'attestation' }, { signal: stop.signal })) {
    watched.push(entry.index);
    if (watched.length === listed.length) stop.abort();
  }
  expect(watched).toEqual(listed);
});

test('a watch resumes after the server was killed', async () => {
  const client = new Client(options({ retry: { attempts: 100, firstDelay: 20, maxDelay: 200 } }));
  const { index } = await client.append(text('before the crash'));
  const watched: bigint[] = [];
  const stop = new AbortController();
  for await (const { entry } of client.watch(index, { kind: 'attestation' }, { signal: stop.signal })) {
    watched.push(entry.index);
    if (watched.length === 2) stop.abort();
    else {
      await server.kill();
      await Promise.all([server.resume(), client.append(text('after the crash'))]);
    }
  }
  expect(watched[0]).toBe(index);
  expect(watched).toHaveLength(2);
});

test('the gate', async () => {
  const client = new Client(options());
  const subject = { type: 'file', artifact: { digest: { sha256: 'ab'.repeat(32) } } };
  const decided = client.gate({ stage: 'deploy', environment: 'production', subjects: [subject] });
  const { decisions } = await decided;
  expect(decisions).toHaveLength(1);
});

describe('errors', () => {
  test('a wrong token', async () => {
    const client = new Client(options({ token: 'mnt_acme_wrong' }));
    await expect(client.append(text('x'))).rejects.toMatchObject({ code: Code.Unauthenticated });
  });

  test('an event needs an idempotency key', async () => {
    const client = new Client(options());
    await expect(client.append({ kind: 'verification-report', payload: '{}' })).rejects.toMatchObject({
      code: Code.InvalidArgument,
    });
  });

  test('another policy', async () => {
    const policy = parsePolicy('other', other);
    const client = new Client(options({ policies: [policy] }));
    await expect(client.append(text('x'))).rejects.toMatchObject({ name: 'NotVerifiedError' });
  });

  test.each([
    'ledger.example',
    'ftp://ledger.example',
    'https://ledger.example/path',
    'https://ledger.example?x',
    'https://user@ledger.example',
    'https://mnt_acme_secret.example',
  ])('the server %s', (url) => {
    expect(() => new Client({ server: url, token: 'mnt_acme_x' })).toThrow(TypeError);
    expect(() => new Client({ server: url, token: 'mnt_acme_x' })).not.toThrow(/secret/);
  });

  test('no tenant', () => {
    expect(() => new Client({ server: 'https://ledger.example' })).toThrow(/tenant/);
  });
});

test('unavailable servers are tried again, others are not', async () => {
  let calls = 0;
  const failing = (failures: number): Fetch => {
    calls = 0;
    return (...request) => {
      if (++calls <= failures) throw new TypeError('fetch failed');
      return fetch(...request);
    };
  };
  const retry = { firstDelay: 1 };
  await new Client(options({ fetch: failing(5), retry })).append(text('retried'));
  expect(calls).toBe(6);
  const error = await new Client(options({ fetch: failing(9), retry })).append(text('x')).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(ConnectError);
  expect(error).toMatchObject({ code: Code.Unavailable });
  expect(calls).toBe(6);
  await expect(new Client(options({ fetch: failing(0), token: 'mnt_acme_x' })).whoAmI()).rejects.toThrow();
  expect(calls).toBe(1);
});
