/** The tables of licences and places (docs/spec/tables). */

import type * as Tables from './tables.js';

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** The tables, once they are loaded. */
let loaded: typeof Tables | undefined;

/**
 * Loads the tables, which are large and have a module of their own. The other
 * functions of this module need them.
 */
export async function loadTables(): Promise<void> {
  loaded ??= await import('./tables.js');
}

/** Returns a function that makes a value of the tables once. */
function once<T>(make: (tables: typeof Tables) => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    if (loaded === undefined) throw new Error('the tables are not loaded');
    return (made ??= { value: make(loaded) }).value;
  };
}

/**
 * Returns words of which each begins with the length of what it shares with the
 * one before.
 */
function identifiers(text: string): Set<string> {
  let last = '';
  return new Set(words(text).map((word) => (last = last.slice(0, parseInt(word.charAt(0), 36)) + word.slice(1))));
}

/** Returns the pinned list of licences. */
export const spdx = once(({ SPDX }) => ({
  version: SPDX.version,
  licenses: identifiers(SPDX.licenses),
  exceptions: identifiers(SPDX.exceptions),
}));

/** Yields the ends of codes that an item stands for, as the table describes. */
function* endsOf(item: string): Iterable<string> {
  const [first = '', last] = item.split('~');
  if (last !== undefined)
    for (let n = Number(first); n <= Number(last); n++) yield n.toString().padStart(first.length, '0');
  else if (/^\d/.test(item))
    for (let at = 1, size = Number(item.charAt(0)); at < item.length; at += size) yield item.slice(at, at + size);
  else yield* endsOfLetters(item);
}

function* endsOfLetters(item: string): Iterable<string> {
  let head = '';
  for (const [, replaced = '', letter = ''] of item.matchAll(/([a-z]*)([A-Z])/g)) {
    head = head.slice(0, head.length - replaced.length) + replaced.toUpperCase();
    yield head + letter;
  }
}

/** Returns the countries, and the subdivisions by their complete codes. */
const iso = once(({ ISO3166 }) => {
  const countries = new Set<string>();
  const states = new Set<string>();
  for (const line of ISO3166.countries.trim().split('\n')) {
    const [country = '', ...items] = words(line);
    countries.add(country);
    for (const item of items) for (const end of endsOf(item)) states.add(`${country}-${end}`);
  }
  return { countries, states };
});

/** Returns the numbers of countries and of subdivisions. */
export function tableSize(): { countries: number; states: number } {
  return { countries: iso().countries.size, states: iso().states.size };
}

/** Returns the places of cloud regions. */
const regions = once(({ CLOUD_REGIONS }) => {
  const all = words(CLOUD_REGIONS.regions);
  return new Map(Array.from({ length: all.length / 2 }, (_, i) => [all[2 * i] ?? '', all[2 * i + 1] ?? '']));
});

/** The versions of the tables of places. */
export interface TableVersions {
  /** Of the countries and their parts. */
  iso3166: string;
  /** Of the regions of clouds. */
  cloudRegions: string;
}

/** Returns the versions of the tables of places. */
export async function tableVersions(): Promise<TableVersions> {
  const { ISO3166, CLOUD_REGIONS } = await import('./tables.js');
  return { iso3166: ISO3166.version, cloudRegions: CLOUD_REGIONS.version };
}

/** A country, or a part of one. */
export interface Geography {
  /** ISO 3166-1 alpha-2. */
  country: string;
  /** A complete code of ISO 3166-2. Absent: the whole country. */
  state?: string;
}

/** Reports whether the tables have the codes. */
export function isKnown({ country, state }: Geography): boolean {
  const { countries, states } = iso();
  return countries.has(country) && (state === undefined || (states.has(state) && state.startsWith(`${country}-`)));
}

/**
 * Returns the code of the place of a cloud region, or undefined if it is
 * unknown.
 */
export function placeOfRegion(region: string): string | undefined {
  return regions().get(region);
}
