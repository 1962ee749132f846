/** The plugin of Apollo Server. */

import type { ApolloServerPlugin, GraphQLRequestContext } from '@apollo/server';
import type { ResolverCaches } from './resolvers.js';

/** The configuration of the plugin. */
export interface CachePluginOptions<C extends object> {
  /**
   * Decides whether a response lists the keys that were read, in the extension
   * `adaptiveCache`. Names contain arguments and sessions. Default: never.
   */
  showsKeys?: (request: GraphQLRequestContext<C>) => boolean;
  /** Keeps the member when the server stops, for other servers of the process. */
  keepsMember?: boolean;
}

/**
 * Returns a plugin that ends the member of the caches with the server, and
 * shows the keys of responses.
 */
export function cachePlugin<C extends object>(
  caches: ResolverCaches<C>,
  { showsKeys = () => false, keepsMember = false }: CachePluginOptions<C> = {},
): ApolloServerPlugin<C> {
  return {
    serverWillStart: async () =>
      await Promise.resolve({
        serverWillStop: async () => {
          if (!keepsMember) await caches.member.close();
        },
      }),
    requestDidStart: async () =>
      await Promise.resolve({
        willSendResponse: async (request) => {
          const { body } = request.response;
          if (body.kind === 'single' && showsKeys(request)) {
            const adaptiveCache = caches.reads(request.contextValue);
            body.singleResult.extensions = { ...body.singleResult.extensions, adaptiveCache };
          }
          await Promise.resolve();
        },
      }),
  };
}
