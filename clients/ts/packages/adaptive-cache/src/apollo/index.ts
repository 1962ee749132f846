/**
 * Resolvers of GraphQL that answer from a cache, and a plugin of Apollo Server.
 */

export type { Outcome } from '../cache.js';
export { cachePlugin } from './plugin.js';
export type { CachePluginOptions } from './plugin.js';
export { ResolverCaches } from './resolvers.js';
export type { Read, Resolved, Resolver, ResolverCachesOptions, ResolverOptions } from './resolvers.js';
export type { Entity, EntityTarget, OperationTarget, TagTarget, Target, TypeTarget } from './targets.js';
