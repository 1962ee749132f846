/** Resolvers of a real Apollo Server 5, alone and behind a gateway. */

import { ApolloGateway, IntrospectAndCompose } from '@apollo/gateway';
import { ApolloServer } from '@apollo/server';
import type { ApolloServerPlugin } from '@apollo/server';
import { startStandaloneServer } from '@apollo/server/standalone';
import { buildSubgraphSchema } from '@apollo/subgraph';
import { KeyvAdapter } from '@apollo/utils.keyvadapter';
import { createHash } from 'node:crypto';
import { parse } from 'graphql';
import Keyv from 'keyv';
import { afterEach, describe, expect, test } from 'vitest';
import { cachePlugin, ResolverCaches } from '../src/apollo/index.js';
import { canonical } from '../src/apollo/canonical.js';
import { tagsOfResult } from '../src/apollo/targets.js';
import { CacheError, LocalBus, Member } from '../src/index.js';

interface Context {
  user?: string;
}

interface Product {
  id: string;
  name: string;
}

const servers: { stop: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const server of servers.splice(0).reverse()) await server.stop();
});

const typeDefs = `
  type Query { product(id: ID!): Product  products(prefix: String): [Product!]!  greeting: String }
  type Mutation { put(id: ID!, name: String!): Product!  fail(id: ID!, name: String!): Product! }
  type Product { id: ID! name: String! }
`;

/** A shop whose origin counts its reads. */
function shop(options: { grace?: number; maxTTL?: number } = {}) {
  const origin = new Map<string, string>();
  const reads: string[] = [];
  const caches = new ResolverCaches<Context>(new Member(), { session: ({ user }) => user });
  const put = ({ id, name }: Product): Product => {
    origin.set(id, name);
    return { id, name };
  };
  const changes = ({ id }: Product) => [{ type: 'Product', id }, { type: 'Product' }];
  const resolvers = {
    Query: {
      product: caches.resolver<unknown, { id: string }, Product>(
        'Query.product',
        { ...options, types: ['Product'], entities: ({ id }) => [['Product', id]] },
        (_, { id }) => {
          reads.push(`product ${id}`);
          const name = origin.get(id);
          return name === undefined ? null : { id, name };
        },
      ),
      products: caches.resolver<unknown, { prefix?: string }, Product[]>(
        'Query.products',
        { types: ['Product'], entities: (list) => list.map(({ id }) => ['Product', id]) },
        (_, { prefix = '' }) => {
          reads.push(`products ${prefix}`);
          return [...origin].filter(([id]) => id.startsWith(prefix)).map(([id, name]) => ({ id, name }));
        },
      ),
      greeting: caches.resolver<unknown, object, string>('Query.greeting', { scope: 'PRIVATE' }, (_s, _a, { user }) => {
        reads.push('greeting');
        return `Hello ${user ?? 'stranger'}`;
      }),
    },
    Mutation: {
      put: caches.mutation(changes, (_: unknown, product: Product) => put(product)),
      fail: caches.mutation(changes, (_: unknown, product: Product): Product => {
        put(product);
        throw new Error('half done');
      }),
    },
  };
  const plugin = cachePlugin(caches, { showsKeys: ({ request }) => request.http?.headers.get('x-debug') === '1' });
  const cache = new KeyvAdapter(new Keyv<string>() as never);
  const server = new ApolloServer<Context>({ typeDefs, resolvers, cache, plugins: [plugin] });
  servers.push(server);
  const query = async (text: string, contextValue: Context = {}) => {
    const { body } = await server.executeOperation({ query: text }, { contextValue });
    if (body.kind !== 'single') throw new Error('not a single result');
    return body.singleResult;
  };
  const data = async (text: string, context?: Context) =>
    JSON.parse(JSON.stringify((await query(text, context)).data)) as unknown;
  return { caches, data, origin, query, reads, server };
}

describe('a server', () => {
  test('answers from the cache until a mutation', async () => {
    const { data, origin, reads } = shop();
    origin.set('1', 'Lamp');
    for (let i = 0; i < 3; i++)
      expect(await data('{ product(id: 1) { name } }')).toEqual({ product: { name: 'Lamp' } });
    expect(reads).toEqual(['product 1']);
    await data('mutation { put(id: 1, name: "Desk") { id } }');
    expect(await data('{ product(id: "1") { name } }')).toEqual({ product: { name: 'Desk' } });
  });

  test('a mutation that fails invalidates, too', async () => {
    const { data, query, origin } = shop();
    origin.set('1', 'Lamp');
    await data('{ product(id: 1) { name } }');
    expect((await query('mutation { fail(id: 1, name: "Desk") { id } }')).errors?.[0]?.message).toBe('half done');
    expect(await data('{ product(id: 1) { name } }')).toEqual({ product: { name: 'Desk' } });
  });

  test('an absence dies with the creation that it denies', async () => {
    const { data, reads } = shop();
    for (let i = 0; i < 5; i++) expect(await data('{ product(id: 7) { name } }')).toEqual({ product: null });
    expect(reads.length).toBe(2); // the first one is not stored
    await data('mutation { put(id: 7, name: "Desk") { id } }');
    expect(await data('{ product(id: 7) { name } }')).toEqual({ product: { name: 'Desk' } });
  });

  test('an empty list dies with its first element', async () => {
    const { data, reads } = shop();
    for (let i = 0; i < 3; i++) expect(await data('{ products { id } }')).toEqual({ products: [] });
    expect(reads.length).toBe(1);
    await data('mutation { put(id: 1, name: "Lamp") { id } }');
    expect(await data('{ products { id } }')).toEqual({ products: [{ id: '1' }] });
  });

  test('a list of many entities dies with each of them', async () => {
    const { caches, data, origin, reads } = shop();
    for (let i = 0; i < 100; i++) origin.set(`${i}`, 'Lamp');
    for (let i = 0; i < 3; i++) await data('{ products { name } }');
    expect(reads.length).toBe(1);
    origin.set('50', 'Desk');
    await caches.invalidate({ type: 'Product', id: '50' });
    expect(JSON.stringify(await data('{ products { name } }'))).toContain('Desk');
  });

  test.each([
    [{ operation: 'Query.products' }, 1],
    [{ type: 'Product' }, 2],
    [{ type: 'Product', id: 1 }, 2],
    [{ type: 'Product', id: 2 }, 0],
    [{ type: 'User' }, 0],
    [{ tag: 'resolver:Query.product' }, 1],
  ])('invalidation of %j', async (target, loads) => {
    const { caches, data, origin, reads } = shop();
    origin.set('1', 'Lamp');
    const both = '{ product(id: 1) { name } products { name } }';
    await data(both);
    await caches.invalidate(target);
    reads.length = 0;
    await data(both);
    expect(reads.length).toBe(loads);
  });

  test('private values belong to a session, and without one they are not cached', async () => {
    const { data, reads } = shop();
    for (const user of ['alice', 'bob', 'alice']) {
      expect(await data('{ greeting }', { user })).toEqual({ greeting: `Hello ${user}` });
    }
    expect(reads.length).toBe(2);
    for (let i = 0; i < 2; i++) await data('{ greeting }');
    expect(reads.length).toBe(4);
  });

  test('stale while revalidate: within the grace, a read returns the value and loads it again', async () => {
    const { caches, data, origin } = shop({ grace: 60_000, maxTTL: 1 });
    const query = '{ product(id: 1) { name } }';
    origin.set('1', 'Lamp');
    await data(query);
    origin.set('1', 'Desk'); // without an invalidation
    await expect.poll(async () => await data(query), { interval: 5 }).toEqual({ product: { name: 'Desk' } });
    const { lateHits, misses } = caches.stats()['Query.product'] ?? { lateHits: 0, misses: 0 };
    expect([lateHits > 0, misses]).toEqual([true, 1]);
  });

  test('keys are visible to resolvers and in responses, and invalidate', async () => {
    const { caches, origin, server } = shop();
    origin.set('1', 'Lamp');
    const { url } = await startStandaloneServer(server, { listen: { host: '127.0.0.1', port: 0 } });
    const post = async (headers: Record<string, string>) => {
      const body = JSON.stringify({ query: '{ product(id: 1) { name } }' });
      const all = { 'content-type': 'application/json', ...headers };
      return (await (await fetch(url, { method: 'POST', headers: all, body })).json()) as Record<string, unknown>;
    };
    const read = { resolver: 'Query.product', name: '13:Query.product0:{"id":"1"}' };
    expect((await post({ 'x-debug': '1' }))['extensions']).toEqual({ adaptiveCache: [{ ...read, outcome: 'miss' }] });
    expect((await post({ 'x-debug': '1' }))['extensions']).toEqual({ adaptiveCache: [{ ...read, outcome: 'hit' }] });
    expect((await post({}))['extensions']).toBeUndefined();
    await caches.invalidate({ tag: read.name });
    expect((await post({ 'x-debug': '1' }))['extensions']).toEqual({ adaptiveCache: [{ ...read, outcome: 'miss' }] });
  });

  test('persisted queries of Apollo stay in Keyv', async () => {
    const { origin, server } = shop();
    origin.set('1', 'Lamp');
    const query = '{ product(id: 1) { name } }';
    const sha256Hash = createHash('sha256').update(query).digest('hex');
    const extensions = { persistedQuery: { version: 1, sha256Hash } };
    for (const request of [{ query, extensions }, { extensions }]) {
      const { body } = await server.executeOperation(request, { contextValue: {} });
      expect(body).toMatchObject({ singleResult: { data: { product: { name: 'Lamp' } } } });
    }
  });

  test('errors of resolvers reach the client unchanged, and are not cached', async () => {
    const caches = new ResolverCaches(new Member());
    let calls = 0;
    const greeting = caches.resolver('Query.greeting', {}, () => {
      calls++;
      throw new Error('not today');
    });
    const server = new ApolloServer({ typeDefs, resolvers: { Query: { greeting } }, plugins: [cachePlugin(caches)] });
    servers.push(server);
    for (let i = 1; i <= 2; i++) {
      const { body } = await server.executeOperation({ query: '{ greeting }' });
      expect(body).toMatchObject({ singleResult: { errors: [{ message: 'not today', path: ['greeting'] }] } });
      expect(calls).toBe(i);
    }
  });
});

test('a resolver of another type must have a key, and a name is used once', () => {
  const caches = new ResolverCaches(new Member());
  expect(() => caches.resolver('Product.price', {}, () => 1)).toThrow(CacheError);
  caches.resolver('Query.a', {}, () => 1);
  expect(() => caches.resolver('Query.a', {}, () => 1)).toThrow(CacheError);
});

describe('a gateway with two subgraphs', () => {
  /** Starts a subgraph as a process of its own would: with its own member. */
  async function subgraph(typeDefs: string, resolvers: object, plugin: ApolloServerPlugin) {
    const schema = buildSubgraphSchema({ typeDefs: parse(typeDefs), resolvers: resolvers as never });
    const server = new ApolloServer({ schema, plugins: [plugin] });
    servers.push(server);
    return (await startStandaloneServer(server, { listen: { host: '127.0.0.1', port: 0 } })).url;
  }

  test('entities of both are cached, and a mutation of one invalidates in both', async () => {
    const bus = new LocalBus();
    const [a, b] = [new ResolverCaches(new Member({ bus })), new ResolverCaches(new Member({ bus }))];
    const names = new Map([['1', 'Lamp']]);
    const stock = new Map([['1', 3]]);
    const reads: string[] = [];

    const products = await subgraph(
      `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key"])
       type Query { products: [Product!]! }
       type Mutation { rename(id: ID!, name: String!): Product! }
       type Product @key(fields: "id") { id: ID! name: String! }`,
      {
        Query: {
          products: a.resolver<unknown, object, Product[]>(
            'Query.products',
            { types: ['Product'], entities: (list) => list.map(({ id }) => ['Product', id]) },
            () => {
              reads.push('products');
              return [...names].map(([id, name]) => ({ id, name }));
            },
          ),
        },
        Mutation: {
          rename: a.mutation<unknown, Product, Product>(
            ({ id }) => [{ type: 'Product', id }],
            (_, { id, name }) => {
              names.set(id, name);
              stock.set(id, 0);
              return { id, name };
            },
          ),
        },
      },
      cachePlugin(a),
    );
    const warehouse = await subgraph(
      `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key"])
       type Query { unused: Int }
       type Product @key(fields: "id") { id: ID! inStock: Int! }`,
      {
        Product: {
          __resolveReference: b.reference<{ id: string }, { id: string; inStock: number }>(
            'Product',
            ({ id }) => id,
            {},
            ({ id }) => {
              reads.push(`stock of ${id}`);
              return { id, inStock: stock.get(id) ?? 0 };
            },
          ),
        },
      },
      cachePlugin(b),
    );
    const gateway = new ApolloGateway({
      supergraphSdl: new IntrospectAndCompose({
        subgraphs: [
          { name: 'products', url: products },
          { name: 'warehouse', url: warehouse },
        ],
      }),
      logger: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: console.error },
    });
    const server = new ApolloServer({ gateway });
    await server.start();
    servers.push(server);
    const run = async (query: string) => {
      const { body } = await server.executeOperation({ query });
      return body.kind === 'single' ? (JSON.parse(JSON.stringify(body.singleResult)) as unknown) : undefined;
    };
    const query = '{ products { name inStock } }';
    const hits = () => [a.stats()['Query.products']?.hits, b.stats()['Product.__resolveReference']?.hits];
    while (!hits().every((n) => n !== undefined && n > 0)) {
      expect(await run(query)).toEqual({ data: { products: [{ name: 'Lamp', inStock: 3 }] } });
    }
    expect(reads).toEqual(expect.arrayContaining(['products', 'stock of 1']));
    expect(await run('mutation { rename(id: 1, name: "Desk") { name } }')).toEqual({
      data: { rename: { name: 'Desk' } },
    });
    expect(await run(query)).toEqual({ data: { products: [{ name: 'Desk', inStock: 0 }] } });
  });
});

test('the encoding of arguments is injective', () => {
  const values = [
    ...[null, undefined, 'null', 0, '0', 1n, '1n', NaN, Infinity, true, 'true', [], {}, '', [''], [[]], [null]],
    ...[[undefined], { a: undefined }, { a: null }, { a: 1, b: 2 }, { 'a":1,"b': 2 }, ['a', 'b'], ['a,b'], '["a"]'],
    ...[new Date(0), '1970-01-01T00:00:00.000Z', new Date(1), { a: { b: 1 } }, { a: '{"b":1}' }],
  ];
  const texts = values.map((value) => canonical(value));
  expect(new Set(texts).size).toBe(values.length);
  expect(texts).not.toContain(undefined);
  expect(canonical({ b: 2, a: 1 })).toBe(canonical({ a: 1, b: 2 }));
  const cycle: unknown[] = [];
  cycle.push(cycle);
  for (const value of [cycle, new Map(), new Set(), () => 1, Symbol('s'), [new Map()], { a: new Uint8Array(1) }]) {
    expect(canonical(value)).toBeUndefined();
  }
});

test('tags of results', () => {
  expect(tagsOfResult(['A'], [['B', 1]], ['x'])).toEqual(['type:A', 'type:B', 'x', 'B:1']);
  const many = Array.from({ length: 1000 }, (_, i) => ['B', i] as const);
  expect(tagsOfResult([], many, ['x'])).toEqual(['type:B', 'x', 'many:B']);
});
