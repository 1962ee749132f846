// An Apollo Server in a process of its own: node test/apolloserver.js SOCKET
// SEED, after a build. Its origin are counters in Redis, and its bus is in the
// same Redis, over a network that loses, delays, repeats and reorders calls. It
// prints its URL.

import { ApolloServer } from '@apollo/server';
import { startStandaloneServer } from '@apollo/server/standalone';
import { createClient } from 'redis';
import { cachePlugin, ResolverCaches } from '../dist/apollo/index.js';
import { Member } from '../dist/index.js';
import { RedisBus } from '../dist/redis/index.js';

const [socket, seed] = process.argv.slice(2);
const LEASE = 800;
const LOSS = 0.1;

let state = Number(seed);

/** Returns a number from 0 to 1, by xorshift. */
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Passes a call on: late, twice, or not at all, and its answer as well. */
async function send(call) {
  if (random() < 0.5) await pause((random() * LEASE) / 8);
  if (random() < LOSS) throw new Error('the request was lost');
  if (random() < LOSS)
    void pause(random() * LEASE)
      .then(call)
      .catch(() => undefined);
  const answer = await call();
  if (random() < 0.5) await pause((random() * LEASE) / 8);
  if (random() < LOSS) throw new Error('the answer was lost');
  return answer;
}

const client = createClient({ socket: { path: socket, tls: false } });
client.on('error', () => undefined);
await client.connect();
const bus = await RedisBus.connect(client, { lease: LEASE });
const member = new Member({
  lease: LEASE,
  bus: {
    poll: (poll, signal) => send(() => bus.poll(poll, signal)),
    invalidate: (tags, signal) => send(() => bus.invalidate(tags, signal)),
  },
});
const caches = new ResolverCaches(member);

const typeDefs = `
  type Query { item(id: Int!): Item  hits: Int! }
  type Mutation { change(id: Int!): Item! }
  type Item { id: Int! version: Int! }
`;
const resolvers = {
  Query: {
    item: caches.resolver(
      'Query.item',
      { types: ['Item'], entities: ({ id }) => [['Item', id]] },
      async (_, { id }) => {
        const version = await client.get(`item:${id}`);
        return version === null ? null : { id, version: Number(version) };
      },
    ),
    hits: () => caches.stats()['Query.item'].hits,
  },
  Mutation: {
    change: async (_, { id }) => {
      const version = await client.incr(`item:${id}`);
      for (;;) {
        try {
          await caches.invalidate(version % 2 === 0 ? { type: 'Item', id } : { type: 'Item' });
          return { id, version };
        } catch {
          // not confirmed: repeat
        }
      }
    },
  },
};

const server = new ApolloServer({ typeDefs, resolvers, plugins: [cachePlugin(caches)] });
const { url } = await startStandaloneServer(server, { listen: { host: '127.0.0.1', port: 0 } });
console.log(url);
