// An Apollo Server to measure: node scripts/server.js ORIGIN CACHE, after a
// build. It resolves items from the origin, an HTTP server, with no cache
// ("none"), with lifetimes of ten seconds ("fixed"), or with the adaptive cache
// ("adaptive"). It prints its URL, and ends with its standard input.

import { ApolloServer } from '@apollo/server';
import { startStandaloneServer } from '@apollo/server/standalone';
import { InMemoryLRUCache } from '@apollo/utils.keyvaluecache';
import { ResolverCaches } from '../dist/apollo/index.js';
import { Member } from '../dist/index.js';

const [origin, kind] = process.argv.slice(2);

async function load(_, { id }) {
  const response = await fetch(`${origin}/${id}`);
  if (!response.ok) throw new Error(`the origin answered ${response.status}`);
  return { id, name: await response.text() };
}

const fixed = new InMemoryLRUCache();
const resolvers = {
  none: () => load,
  fixed: () => async (source, args) => {
    const key = `${args.id}`;
    const found = await fixed.get(key);
    if (found !== undefined) return JSON.parse(found);
    const item = await load(source, args);
    await fixed.set(key, JSON.stringify(item), { ttl: 10 });
    return item;
  },
  adaptive: () =>
    new ResolverCaches(new Member()).resolver(
      'Query.item',
      { types: ['Item'], entities: ({ id }) => [['Item', id]], grace: 3_600_000 },
      load,
    ),
};

const server = new ApolloServer({
  typeDefs: 'type Query { item(id: Int!): Item } type Item { id: Int! name: String! }',
  resolvers: { Query: { item: resolvers[kind]() } },
});
const { url } = await startStandaloneServer(server, { listen: { host: '127.0.0.1', port: 0 } });
process.stdin.on('end', () => process.exit()).resume();
console.log(url);
