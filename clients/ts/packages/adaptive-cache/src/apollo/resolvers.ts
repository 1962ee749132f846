/** Resolvers that answer from a cache. */

import type { GraphQLResolveInfo } from 'graphql';
import { Cache } from '../cache.js';
import type { Outcome } from '../cache.js';
import { CacheError } from '../errors.js';
import type { Member } from '../member.js';
import { nameOf, privateScope } from '../name.js';
import type { CacheOptions, Loaded } from '../options.js';
import type { CacheStats } from '../stats.js';
import { canonical } from './canonical.js';
import { tagsOfResult, tagsOfTarget } from './targets.js';
import type { Entity, Target } from './targets.js';

/** A resolver of a field. */
export type Resolver<S, A, C, R> = (source: S, args: A, context: C, info: GraphQLResolveInfo) => R;

/** What a resolver returns: a value, or none. */
export type Resolved<V> = V | null | undefined | Promise<V | null | undefined>;

/** The configuration of the cache of one resolver. Durations are in milliseconds. */
export interface ResolverOptions<S, A, V> extends Partial<
  Pick<
    CacheOptions<unknown, V>,
    | 'minTTL'
    | 'initialTTL'
    | 'maxTTL'
    | 'negativeTTL'
    | 'grace'
    | 'risk'
    | 'beta'
    | 'maxLoads'
    | 'loadTimeout'
    | 'maxName'
    | 'maxHot'
    | 'width'
    | 'maxWeight'
  >
> {
  /**
   * Whether the values are the same for all sessions. Values that depend on the
   * context must be PRIVATE. Default: PUBLIC.
   */
  scope?: 'PUBLIC' | 'PRIVATE';
  /**
   * Returns what the value depends on: plain objects, arrays, scalars and
   * dates. Default: the arguments, which suffices for fields of Query. Other
   * fields must include the identity of the source.
   */
  key?: (source: S, args: A) => unknown;
  /** The types of the entities that a result can have, also if it has none. */
  types?: readonly string[];
  /** Returns the entities on which a value depends. */
  entities?: (value: V, args: A, source: S) => Iterable<Entity>;
  /** Returns tags of your own, also of absent values. */
  tags?: (value: V | undefined, args: A, source: S) => Iterable<string>;
  /** Returns the weight of a value, an integer. Default: 1. */
  weigh?: (value: V) => number;
  /**
   * Returns how much two values differ, from 0 (equal) to 65536. Default: a
   * comparison of their JSON. Lifetimes follow these changes.
   */
  change?: (old: V, value: V) => number;
}

/** The configuration of the caches of a server. */
export interface ResolverCachesOptions<C> {
  /** Returns the identity of the session, for values of the scope PRIVATE. */
  session?: (context: C) => string | undefined | null;
  /** How long an invalidation is repeated until it fails, in milliseconds. Default: 10,000. */
  patience?: number;
}

/** One read by a resolver. */
export interface Read {
  /** The resolver, such as `Query.product`. */
  resolver: string;
  /**
   * The name of its key, or undefined if it has none. An invalidation with it
   * as a tag covers the read.
   */
  name: string | undefined;
  /** How it was answered. */
  outcome: Outcome;
}

interface Call<S, A, C> {
  source: S;
  args: A;
  context: C;
  info: GraphQLResolveInfo;
}

const MAX_READS = 1000; // that are remembered for a request
const DEFAULT_WEIGHT = 10_000;
const DIFFERENT = 65_536;

/** Compares values by their JSON. Values without one differ. */
function compareJSON(old: unknown, value: unknown): number {
  try {
    return JSON.stringify(old) === JSON.stringify(value) ? 0 : DIFFERENT;
  } catch {
    return DIFFERENT;
  }
}

/** The caches of the resolvers of a server, one for each. */
export class ResolverCaches<C extends object = object> {
  readonly #session: (context: C) => string | undefined | null;
  readonly #patience: number;
  readonly #caches = new Map<string, { stats: () => CacheStats }>();
  readonly #reads = new WeakMap<object, Read[]>();

  /** Caches whose entries die by the invalidations that the member applies. */
  constructor(
    /** The process's part in invalidation. */
    readonly member: Member,
    options: ResolverCachesOptions<C> = {},
  ) {
    this.#session = options.session ?? (() => undefined);
    this.#patience = options.patience ?? 10_000;
  }

  /**
   * Returns a resolver that answers from a cache of its own. Its name is the
   * type and the field, such as `Query.product`. A null is cached as an
   * absence.
   *
   * @throws CacheError with the code `options`.
   */
  resolver<S, A, V>(
    name: string,
    options: ResolverOptions<S, A, V>,
    resolve: Resolver<S, A, C, Resolved<V>>,
  ): Resolver<S, A, C, Promise<V | null>> {
    if (options.key === undefined && !name.startsWith('Query.')) {
      throw new CacheError('options', `the resolver ${name} must have a key with the identity of its source`);
    }
    if (this.#caches.has(name)) throw new CacheError('options', `the resolver ${name} has a cache already`);
    const cache = this.#cacheOf(name, options, resolve);
    this.#caches.set(name, cache);
    return async (source, args, context, info) => {
      const value = await cache.get({ source, args, context, info }, (key, outcome) => {
        this.#record(context, { resolver: name, name: key, outcome });
      });
      return value ?? null;
    };
  }

  #cacheOf<S, A, V>(
    resolver: string,
    options: ResolverOptions<S, A, V>,
    resolve: Resolver<S, A, C, Resolved<V>>,
  ): Cache<Call<S, A, C>, V> {
    const { scope = 'PUBLIC', key = (_: S, args: A) => args, types = [], entities, tags, ...rest } = options;
    const loaded = (found: V | null | undefined, { args, source }: Call<S, A, C>): Loaded<never, V> => {
      const value = found ?? undefined;
      const all = value === undefined ? [] : (entities?.(value, args, source) ?? []);
      return { value, tags: tagsOfResult(types, all, tags?.(value, args, source) ?? []) };
    };
    return new Cache<Call<S, A, C>, V>(this.member, {
      maxWeight: DEFAULT_WEIGHT,
      change: compareJSON,
      ...rest,
      resolver,
      name: ({ source, args, context }) => {
        const session = scope === 'PUBLIC' ? '' : privateScope(this.#session(context));
        const text = session === undefined ? undefined : canonical(key(source, args));
        return session === undefined || text === undefined ? undefined : nameOf(resolver, session, text);
      },
      load: async (call) => loaded(await resolve(call.source, call.args, call.context, call.info), call),
    });
  }

  /**
   * Returns a resolver of references of a subgraph, `__resolveReference`, that
   * answers from a cache. Its key is the whole reference. The result depends on
   * the entity, whose identifier `id` returns.
   *
   * @throws CacheError with the code `options`.
   */
  reference<S extends object, V>(
    type: string,
    id: (reference: S) => string | number,
    options: Omit<ResolverOptions<S, object, V>, 'key'>,
    resolve: (reference: S, context: C, info: GraphQLResolveInfo) => Resolved<V>,
  ): (reference: S, context: C, info: GraphQLResolveInfo) => Promise<V | null> {
    const { entities = () => [], types = [], tags = () => [], ...rest } = options;
    const resolver = this.resolver<S, object, V>(
      `${type}.__resolveReference`,
      {
        ...rest,
        key: (reference) => reference,
        types: [type, ...types],
        entities: (value, args, reference) => [[type, id(reference)], ...entities(value, args, reference)],
        tags: (value, args, reference) => [
          ...(value === undefined ? tagsOfResult([], [[type, id(reference)]], []) : []),
          ...tags(value, args, reference),
        ],
      },
      (reference, _, context, info) => resolve(reference, context, info),
    );
    return async (reference, context, info) => await resolver(reference, {}, context, info);
  }

  /**
   * Returns a resolver of a mutation that invalidates what it changes before it
   * returns. If the mutation fails, the origin may have changed nevertheless:
   * the targets are then asked for without its result.
   *
   * @throws CacheError with the code `not-confirmed` from the resolver.
   */
  mutation<S, A, R>(
    targets: (args: A, result: R | undefined) => Iterable<Target>,
    resolve: Resolver<S, A, C, R | Promise<R>>,
  ): Resolver<S, A, C, Promise<R>> {
    return async (source, args, context, info) => {
      let result: R;
      try {
        result = await resolve(source, args, context, info);
      } catch (error) {
        await this.invalidate(...targets(args, undefined)).catch(() => undefined);
        throw error;
      }
      await this.invalidate(...targets(args, result));
      return result;
    };
  }

  /**
   * Ends the life of all entries that the targets cover, in every process. Call
   * it after the change of the origin. It is repeated until the bus confirms
   * it.
   *
   * @throws CacheError with the code `not-confirmed`.
   */
  async invalidate(...targets: readonly Target[]): Promise<void> {
    const tags = targets.flatMap(tagsOfTarget);
    const signal = AbortSignal.timeout(this.#patience);
    for (;;) {
      try {
        await this.member.invalidate(tags, signal);
        return;
      } catch (error) {
        if (signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  #record(context: C, read: Read): void {
    const reads = this.#reads.get(context);
    if (reads === undefined) this.#reads.set(context, [read]);
    else if (reads.length < MAX_READS) reads.push(read);
  }

  /** Returns what the resolvers of a request have read, at most 1,000 reads. */
  reads(context: C): readonly Read[] {
    return this.#reads.get(context) ?? [];
  }

  /** Returns the counters of the cache of each resolver. */
  stats(): Record<string, CacheStats> {
    return Object.fromEntries([...this.#caches].map(([name, cache]) => [name, cache.stats()]));
  }
}
