/** What an invalidation covers, as tags. */

import { MAX_TAGS, resolverTag, shortTags } from '../name.js';

/** Covers results with one entity. */
export interface EntityTarget {
  /** Its type. */
  type: string;
  /** Its identifier. */
  id: string | number;
}

/** Covers results with entities of a type, and lists that could have some. */
export interface TypeTarget {
  /** The type. */
  type: string;
}

/** Covers the results of a resolver. */
export interface OperationTarget {
  /** The resolver, such as `Query.products`. */
  operation: string;
}

/** Covers results with a tag of your own. */
export interface TagTarget {
  /** The tag. */
  tag: string;
}

/** What an invalidation covers. */
export type Target = EntityTarget | TypeTarget | OperationTarget | TagTarget;

/** The type and the identifier of an object. */
export type Entity = readonly [type: string, id: string | number];

const OWN_TAGS = 2; // the name and the resolver

const typeTag = (type: string) => `type:${type}`;
const entityTag = (type: string, id: string | number) => `${type}:${id}`;
const manyTag = (type: string) => `many:${type}`;

/** Returns the tags of an invalidation. */
export function tagsOfTarget(target: Target): string[] {
  if ('tag' in target) return [target.tag];
  if ('operation' in target) return [resolverTag(target.operation)];
  if ('id' in target) return [entityTag(target.type, target.id), manyTag(target.type)];
  return [typeTag(target.type)];
}

/**
 * Returns the tags of a result. If it has too many entities for the tags of an
 * entry, it depends on all entities of their types.
 */
export function tagsOfResult(types: Iterable<string>, entities: Iterable<Entity>, tags: Iterable<string>): string[] {
  const all = new Set(types);
  const each = new Set<string>();
  for (const [type, id] of entities) {
    all.add(type);
    if (each.size < MAX_TAGS) each.add(entityTag(type, id));
  }
  const common = [...[...all].map(typeTag), ...tags];
  const precise = shortTags([...common, ...each]);
  return precise.length + OWN_TAGS <= MAX_TAGS ? precise : shortTags([...common, ...[...all].map(manyTag)]);
}
