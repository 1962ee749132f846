/** The report on a verified export (export-manifest.md, section 7). */

import { sha256 } from '@noble/hashes/sha2.js';
import { hex } from '../bytes.js';
import type { Signer } from '../header.js';
import { EXPORT_PREDICATE_TYPE } from '../spends.js';
import type { Statement } from '../statement.js';
import { spdx } from './lookup.js';
import { chargeOf } from './privacy.js';
import { labelOf } from './residency.js';
import type { StreamFacts } from './stream.js';
import type { ExportFile, ExportManifest } from './statement.js';

/** The checks that were not performed, in the order of a report. */
export type ExportWarning =
  | 'files-not-checked'
  | 'licenses-not-decided'
  | 'residency-not-decided'
  | 'residency-without-evidence'
  | 'evidence-not-checked'
  | 'not-recorded'
  | 'not-witnessed'
  | 'spends-not-checked'
  | 'other-list';

/** What a verification has proven, given the signers. */
export interface ExportProven {
  manifestSha256: string;
  predicateType: string;
  tenant: string;
  exportId: string;
  signers: Signer[];
  files: { name: string; sha256: string; size: number; checked: boolean }[];
  /** The version of this verifier's table. */
  spdxListVersion: string;
  /** The different expressions, sorted. */
  licenses: string[];
  privacy?: { flavor: string; budget: string; epsilon: string; delta?: string; rho?: string; spent: string };
  /**
   * The entry that records the manifest. The time is claimed by the log, in
   * Unix milliseconds.
   */
  entry?: { origin: string; index: number; size: number; time: number };
  stream?: StreamFacts;
}

/** What the signers claim. */
export interface ExportClaimed {
  created: string;
  /** The sum over the files that state them, if it is at most 2⁵³ − 1. */
  rows?: number;
  residency: {
    activity: string;
    places: string[];
    claimedBy: Signer;
    /** The number of entries. */
    evidence: number;
  }[];
  sensitivity?: { claimedBy: Signer };
  sampler?: { name: string; claimedBy: Signer };
}

/** The result for a verified export. */
export interface VerifiedExport {
  proven: ExportProven;
  claimed: ExportClaimed;
  warnings: ExportWarning[];
}

/** What the steps have found. */
export interface Findings {
  file: Uint8Array;
  manifest: ExportManifest;
  signers: Signer[];
  given: { files: boolean; licenses: boolean; residency: boolean };
  receipt?: Statement;
  stream?: StreamFacts;
}

/** Yields the SPDX expressions of the files in their order. */
export function* expressionsOf(files: readonly ExportFile[]): Iterable<string> {
  for (const { license, fieldSets } of files) {
    yield* license;
    for (const set of fieldSets) yield* set.license;
  }
}

/** Returns the result. */
export function resultOf(findings: Findings): VerifiedExport {
  return {
    proven: proven(findings),
    claimed: claimed(findings.manifest),
    warnings: warnings(findings),
  };
}

function proven({ file, manifest, signers, given, receipt, stream }: Findings): ExportProven {
  const { tenant, exportId, files, privacy } = manifest;
  return {
    manifestSha256: hex(sha256(file)),
    predicateType: EXPORT_PREDICATE_TYPE,
    tenant,
    exportId,
    signers,
    files: files.map(({ name, sha256, size }) => ({ name, sha256, size, checked: given.files })),
    spdxListVersion: spdx().version,
    licenses: [...new Set(expressionsOf(files))].sort(), // ASCII, after step 6
    ...(privacy && {
      privacy: {
        flavor: privacy.flavor,
        budget: privacy.budget,
        epsilon: privacy.epsilon.text,
        ...(privacy.delta && { delta: privacy.delta.text }),
        ...(privacy.rho && { rho: privacy.rho.text }),
        spent: chargeOf(privacy).spent.text,
      },
    }),
    ...(receipt && {
      entry: { origin: receipt.origin, index: receipt.index, size: receipt.size, time: receipt.time },
    }),
    ...(stream && { stream }),
  };
}

function claimed({ created, files, claims, privacy }: ExportManifest): ExportClaimed {
  const stated = files.map((file) => file.rows).filter((count) => count !== undefined);
  const rows = stated.reduce((sum, count) => sum + count, 0);
  return {
    created,
    ...(stated.length > 0 && Number.isSafeInteger(rows) && { rows }),
    residency: claims.map(({ activity, locations, claimedBy, evidence }) => ({
      activity,
      places: locations.map(labelOf),
      claimedBy,
      evidence: evidence.length,
    })),
    ...(privacy && {
      sensitivity: { claimedBy: privacy.sensitivityBy },
      sampler: { name: privacy.sampler, claimedBy: privacy.samplerBy },
    }),
  };
}

function warnings({ manifest, given, receipt, stream }: Findings): ExportWarning[] {
  const { claims, use, privacy, spdxListVersion } = manifest;
  const all: [ExportWarning, boolean][] = [
    ['files-not-checked', !given.files],
    ['licenses-not-decided', !given.licenses],
    ['residency-not-decided', use === undefined && !given.residency],
    ['residency-without-evidence', claims.some(({ evidence }) => evidence.length === 0)],
    ['evidence-not-checked', stream === undefined && claims.some(({ evidence }) => evidence.length > 0)],
    ['not-recorded', receipt === undefined],
    ['not-witnessed', receipt !== undefined && !receipt.witnessed],
    ['spends-not-checked', privacy !== undefined && stream === undefined],
    ['other-list', spdxListVersion !== spdx().version],
  ];
  return all.filter(([, applies]) => applies).map(([code]) => code);
}
