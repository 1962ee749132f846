/** What a verified evidence bundle proves and claims (verify.md, section 4). */

import { compare, hex, utf8 } from '../bytes.js';
import { formatUnits, parseDecimal } from '../decimal.js';
import { amountName, isHiddenSpend, isSpend } from '../spends.js';
import type { EvidenceManifest } from './manifest.js';
import type { EvidenceRecord, PayloadState } from './records.js';

/**
 * What a verified evidence bundle proves. Hashes are in lowercase hexadecimal.
 */
export interface EvidenceProven {
  /** `sha256:` and the SHA-256 of the manifest. */
  identity: string;
  /** The name of the log. */
  origin: string;
  /** The name of the tenant. */
  tenant: string;
  /** The number of entries in the tree. */
  size: number;
  /** The root hash of the tree. */
  root: string;
  /** The ID of the tenant's stream. */
  streamId: string;
  /** The number of entries of the stream. */
  entries: number;
  /** The leaf hash of the last entry of the stream. */
  last: string;
  /** The number of records whose payload is in the bundle. */
  included: number;
  /** The number of records whose payload is not in the bundle. */
  omitted: number;
  /** The number of records whose payload was erased. */
  erased: number;
  /** Whether the stream key was given. */
  complete: boolean;
  /**
   * The keys of the accepting policy that signed, as `<key name>+<key hash>`.
   */
  signers: string[];
  /** The name of the accepting policy. */
  policy: string;
  /** Whether the policy requires a witness. */
  witnessed: boolean;
}

/** What an evidence bundle claims. Times are in Unix milliseconds. */
export interface EvidenceClaimed {
  /** The time for which the reports were made. */
  time: number;
}

/** The sum of the spends with the same attributes. */
export interface SpendSum {
  /** The name of the budget. */
  budget: string;
  /** `Pure DP` or `Zero-concentrated DP`, as in OpenDP's registry. */
  flavor: string;
  /** Whose data one record is, such as `user`. */
  privacyUnit: string;
  /** How neighbouring data sets differ, such as `add-remove`. */
  neighboringRelation: string;
  /** The number of spends. */
  spends: number;
  /** A decimal: of ε with `Pure DP`, of ρ with `Zero-concentrated DP`. */
  sum: string;
}

/** What a stream claims. Times are in Unix milliseconds. */
export interface StreamClaimed extends EvidenceClaimed {
  /** The time of the first entry. */
  first?: number;
  /** The time of the last entry. */
  newest?: number;
  /** The kinds of the stream's entries, sorted. */
  kinds: {
    /** The kind. */
    kind: string;
    /** The number of entries of the kind. */
    entries: number;
  }[];
  /** Absent with the warning `spends-unreadable`. */
  spends?: SpendSum[];
}

/** The checks that were not performed, and what readers should know. */
export type EvidenceWarning =
  'not-witnessed' | 'completeness-not-checked' | 'erased' | 'spends-unreadable' | 'reports-not-compared';

/** The result for a verified evidence bundle. */
export interface VerifiedEvidence {
  /** What follows from signatures by trusted keys, and from hashes. */
  proven: EvidenceProven;
  /** What the log asserts, and nothing else supports. */
  claimed: EvidenceClaimed;
  /** In the order of the specification. */
  warnings: EvidenceWarning[];
}

/** The result for a verified stream. */
export interface VerifiedStream {
  /** What follows from signatures by trusted keys, and from hashes. */
  proven: EvidenceProven;
  /** What the log asserts, and nothing else supports. */
  claimed: StreamClaimed;
  /** In the order of the specification. */
  warnings: EvidenceWarning[];
}

/** Returns what a verified bundle proves. */
export function provenOf(
  identity: string,
  manifest: EvidenceManifest,
  counts: Record<PayloadState, number>,
  complete: boolean,
  accepted: { signers: string[]; policy: string; witnessed: boolean },
): EvidenceProven {
  const { origin, tenant, size, root, stream } = manifest;
  return {
    identity,
    origin,
    tenant,
    size,
    root: hex(root),
    streamId: hex(stream.id),
    entries: stream.entries,
    last: hex(stream.last),
    included: counts.included,
    omitted: counts.omitted,
    erased: counts.erased,
    complete,
    ...accepted,
  };
}

/** Returns the warnings that apply, in their order. */
export function warningsOf(
  proven: EvidenceProven,
  others: Partial<Record<EvidenceWarning, boolean>>,
): EvidenceWarning[] {
  const all: [EvidenceWarning, boolean][] = [
    ['not-witnessed', !proven.witnessed],
    ['completeness-not-checked', !proven.complete],
    ['erased', proven.erased > 0],
    ['spends-unreadable', others['spends-unreadable'] ?? false],
    ['reports-not-compared', others['reports-not-compared'] ?? false],
  ];
  return all.filter(([, applies]) => applies).map(([warning]) => warning);
}

/** Collects what a stream claims. */
export class StreamSummary {
  private first: number | undefined;
  private newest: number | undefined;
  private readonly kinds = new Map<string, number>();
  private readonly sums = new Map<string, { attributes: string[]; spends: number; units: bigint }>();
  private isUnreadable = false;

  add({ time, header }: EvidenceRecord): void {
    this.first ??= time;
    this.newest = time;
    if (header !== undefined) this.kinds.set(header.kind, (this.kinds.get(header.kind) ?? 0) + 1);
    if (header === undefined || isHiddenSpend(header)) {
      this.isUnreadable = true;
      return;
    }
    const { attributes = {} } = header;
    const { budget, flavor = '', privacyUnit = '', neighboringRelation = '' } = attributes;
    if (budget === undefined || !isSpend(header, budget)) return;
    const name = amountName(flavor);
    const amount = name === undefined ? undefined : parseDecimal(attributes[name] ?? '');
    if (amount === undefined) {
      this.isUnreadable = true;
      return;
    }
    const key = [budget, flavor, privacyUnit, neighboringRelation];
    const id = JSON.stringify(key);
    const sum = this.sums.get(id) ?? { attributes: key, spends: 0, units: 0n };
    this.sums.set(id, { attributes: key, spends: sum.spends + 1, units: sum.units + amount.units });
  }

  claimed(time: number): StreamClaimed {
    const kinds = [...this.kinds].map(([kind, entries]) => ({ kind, entries }));
    return {
      time,
      ...(this.first !== undefined && { first: this.first }),
      ...(this.newest !== undefined && { newest: this.newest }),
      kinds: kinds.sort((a, b) => byBytes(a.kind, b.kind)),
      ...(!this.isUnreadable && { spends: this.spends() }),
    };
  }

  private spends(): SpendSum[] {
    const order = (a: { attributes: string[] }, b: { attributes: string[] }): number =>
      a.attributes.map((text, i) => byBytes(text, b.attributes[i] ?? '')).find((difference) => difference !== 0) ?? 0;
    return [...this.sums.values()].sort(order).map(({ attributes, spends, units }) => {
      const [budget = '', flavor = '', privacyUnit = '', neighboringRelation = ''] = attributes;
      return { budget, flavor, privacyUnit, neighboringRelation, spends, sum: formatUnits(units) };
    });
  }
}

function byBytes(a: string, b: string): number {
  return compare(utf8(a), utf8(b));
}
