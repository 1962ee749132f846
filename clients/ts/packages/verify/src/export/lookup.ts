/** The tables of licences and places (docs/spec/tables). */

import { CLOUD_REGIONS, ISO3166, SPDX } from './tables.js';

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** Returns the function that makes a value once. */
function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** Returns the pinned list of licences. */
export const spdx = once(() => ({
  version: SPDX.version,
  licenses: new Set(words(SPDX.licenses)),
  exceptions: new Set(words(SPDX.exceptions)),
}));

/** Returns the countries, and the subdivisions by their complete codes. */
const iso = once(() => {
  const countries = new Set<string>();
  const states = new Set<string>();
  for (const line of ISO3166.countries.trim().split('\n')) {
    const [country = '', ...parts] = words(line);
    countries.add(country);
    for (const part of parts) states.add(`${country}-${part}`);
  }
  return { countries, states };
});

/** Returns the places of cloud regions. */
const regions = once(() => {
  const all = words(CLOUD_REGIONS.regions);
  return new Map(Array.from({ length: all.length / 2 }, (_, i) => [all[2 * i] ?? '', all[2 * i + 1] ?? '']));
});

/** Versions of the tables of places. */
export const TABLE_VERSIONS = { iso3166: ISO3166.version, cloudRegions: CLOUD_REGIONS.version } as const;

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
