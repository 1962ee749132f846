/**
 * Where the data was (export-manifest.md, section 3, and section 7, step 5).
 */

import { quote } from '../json.js';
import { Failure } from './errors.js';
import { isKnown, placeOfRegion, type Geography } from './lookup.js';
import type { Claim, ExportManifest, Limit, Location, Use } from './statement.js';

/** Returns the most specific name of a location. */
export function labelOf({ country, state, cloudRegion }: Location): string {
  return cloudRegion ?? state ?? country;
}

const activities = ['storage', 'processing'] as const;

/** The codes of an activity: the place is not allowed, or forbidden. */
const codes = {
  storage: ['storage-not-allowed', 'storage-forbidden'],
  processing: ['processing-not-included', 'processing-excluded'],
} as const;

/**
 * Performs step 5. `isSigner` reports whether the one who claims is a signer.
 */
export function checkResidency(
  { claims, use }: ExportManifest,
  required: Use | undefined,
  isSigner: (claim: Claim) => boolean,
): void {
  const locations = claims.flatMap((claim) => claim.locations);
  const limits = use === undefined ? [] : activities.flatMap((a) => [...use[a].allowed, ...use[a].forbidden]);
  for (const place of [...limits, ...locations]) if (!isKnown(place)) throw unknown(place.state ?? place.country);
  for (const { cloudRegion } of locations)
    if (cloudRegion !== undefined && placeOfRegion(cloudRegion) === undefined) throw unknown(cloudRegion);
  for (const location of locations) checkRegion(location);
  for (const claim of claims)
    if (!isSigner(claim))
      throw new Failure('claim-signer', `the claim about ${claim.activity} is by somebody who has not signed`);
  for (const activity of activities) {
    const { allowed = [], forbidden = [] } = required?.[activity] ?? {};
    if (allowed.length + forbidden.length > 0 && !claims.some((claim) => claim.activity === activity))
      throw new Failure('residency-missing', `there is no claim about ${activity}`);
  }
  for (const claim of claims) {
    const rules = [use?.[claim.activity], required?.[claim.activity]].filter((rule) => rule !== undefined);
    for (const location of claim.locations) checkPlace(claim, location, rules);
  }
}

function unknown(code: string): Failure {
  return new Failure('region-unknown', `${quote(code)} is not in the tables of countries, states and cloud regions`);
}

/** Performs step 5.2. */
function checkRegion({ country, state, cloudRegion }: Location): void {
  const code = cloudRegion === undefined ? undefined : placeOfRegion(cloudRegion);
  if (code === undefined) return;
  if (code.slice(0, 2) !== country || (code.length > 2 && state !== undefined && code !== state))
    throw new Failure('region-contradiction', `${cloudRegion ?? ''} is in ${code}, not in ${state ?? country}`);
}

/** Performs step 5.5. */
function checkPlace({ activity }: Claim, location: Location, rules: readonly Limit[]): void {
  const [notAllowed, forbidden] = codes[activity];
  const place = placeOf(location);
  const within = (area: Geography) =>
    area.country === place.country && (area.state === undefined || area.state === place.state);
  const canBeIn = (area: Geography) => within(area) || (area.country === place.country && place.state === undefined);
  for (const rule of rules)
    if (rule.allowed.length > 0 && !rule.allowed.some(within))
      throw new Failure(notAllowed, `${activity} is claimed in ${labelOf(location)}, which is not allowed`);
  for (const rule of rules)
    if (rule.forbidden.some(canBeIn))
      throw new Failure(forbidden, `${activity} is claimed in ${labelOf(location)}, which is forbidden`);
}

/** Returns the place of a location whose codes are known. */
function placeOf({ country, state, cloudRegion }: Location): Geography {
  const code = cloudRegion === undefined ? '' : (placeOfRegion(cloudRegion) ?? '');
  const known = state ?? (code.length > 2 ? code : undefined);
  return { country, ...(known !== undefined && { state: known }) };
}
