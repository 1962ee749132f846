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
  /** The SHA-256 of the manifest, in lowercase hexadecimal. */
  manifestSha256: string;
  /** The predicate type of the manifest, a URI. */
  predicateType: string;
  /** The name of the tenant. */
  tenant: string;
  /** The ID of the export. */
  exportId: string;
  /** The accepted signers of the manifest. */
  signers: Signer[];
  /** The files, in the order of the manifest. */
  files: {
    /** The path in the export, with slashes. */
    name: string;
    /** In lowercase hexadecimal. */
    sha256: string;
    /** In bytes. */
    size: number;
    /** Whether the file itself was compared. */
    checked: boolean;
  }[];
  /** The version of this verifier's table. */
  spdxListVersion: string;
  /** The different expressions, sorted. */
  licenses: string[];
  /**
   * The privacy loss. Amounts are decimals. Absent if the export is not
   * differentially private.
   */
  privacy?: {
    /** `Pure DP` or `Zero-concentrated DP`. */
    flavor: string;
    /** The name of the budget that is charged. */
    budget: string;
    /** The ε of the export. */
    epsilon: string;
    /** The δ of the export. Absent with `Pure DP`. */
    delta?: string;
    /** The ρ of the export. Absent with `Pure DP`. */
    rho?: string;
    /** What is spent of the budget with this export: ε or, for zCDP, ρ. */
    spent: string;
  };
  /** The entry that records the manifest. Absent unless a receipt was given. */
  entry?: {
    /** The name of the log. */
    origin: string;
    /** The entry's index in the log, from 0. */
    index: number;
    /** The number of entries in the checkpoint's tree. */
    size: number;
    /** Claimed by the log, in Unix milliseconds. */
    time: number;
  };
  /** What the stream shows. Absent unless an evidence bundle was given. */
  stream?: StreamFacts;
}

/** What the signers claim. */
export interface ExportClaimed {
  /** When the manifest was made, in RFC 3339. */
  created: string;
  /** The sum over the files that state them, if it is at most 2⁵³ − 1. */
  rows?: number;
  /** Where the data was stored and processed. */
  residency: {
    /** `storage` or `processing`. */
    activity: string;
    /** ISO 3166 codes, with the cloud region if there is one. */
    places: string[];
    /** Who asserts it. */
    claimedBy: Signer;
    /** The number of entries. */
    evidence: number;
  }[];
  /** The sensitivity of the queries. Absent without a privacy loss. */
  sensitivity?: {
    /** Who asserts it. */
    claimedBy: Signer;
  };
  /** The sampler of the noise. Absent without a privacy loss. */
  sampler?: {
    /** The name of the sampler. */
    name: string;
    /** Who asserts that it was used. */
    claimedBy: Signer;
  };
}

/** The result for a verified export. */
export interface VerifiedExport {
  /** What follows from signatures by accepted signers, and from hashes. */
  proven: ExportProven;
  /** What the signers assert, and nothing else supports. */
  claimed: ExportClaimed;
  /** In the order of the specification. */
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
