/**
 * The recorded spends of a budget (export-manifest.md, section 6, and section
 * 7, step 10).
 */

import { proveEvidence } from '../bundle/verify.js';
import { EvidenceError } from '../bundle/errors.js';
import type { EvidenceRecord } from '../bundle/records.js';
import { hex } from '../bytes.js';
import type { Header } from '../header.js';
import type { Policy } from '../policy.js';
import type { Input } from '../source.js';
import { isHiddenSpend, isSpend } from '../spends.js';
import { ExportError, Failure } from './errors.js';
import { formatUnits, parseDecimal } from '../decimal.js';
import { chargeOf, type Charge } from './privacy.js';
import type { ExportManifest, Privacy } from './statement.js';

/** What a complete stream shows. */
export interface StreamFacts {
  /** The number of entries in the tree. */
  size: number;
  /** The number of entries of the stream. */
  entries: number;
  /** The number of spends of the budget up to this export. */
  spends: number;
  /** The number of spends of the budget after this export. */
  later: number;
}

/** The entry of a manifest. */
export interface OwnEntry {
  index: number;
  /** In hexadecimal. */
  leafHash: string;
}

/** Performs step 10. */
export async function checkStream(
  manifest: ExportManifest,
  own: OwnEntry,
  stream: Input,
  policies: readonly Policy[],
  streamKey: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<StreamFacts> {
  try {
    const options = { streamKey, tenant: manifest.tenant, ...(signal && { signal }) };
    const scan = new Scan(manifest, own);
    const { size, entries } = await proveEvidence(stream, policies, options, (record) => {
      scan.record(record);
    });
    scan.judge();
    return { size, entries, spends: scan.spends, later: scan.later };
  } catch (error) {
    if (!(error instanceof EvidenceError)) throw error;
    throw new ExportError(error.code, error.step === 0 ? 0 : 10, `stream: ${error.message}`, { cause: error });
  }
}

/** Collects what step 10 needs of the records. */
class Scan {
  spends = 0;
  later = 0;
  private found: Header | undefined;
  /** The evidence entries that were not found yet. */
  private readonly missing: Set<string>;
  private unreadable: Failure | undefined;
  private different: Failure | undefined;
  private sum = 0n;
  private readonly charge: Charge | undefined;

  constructor(
    private readonly manifest: ExportManifest,
    private readonly own: OwnEntry,
  ) {
    const evidence = manifest.claims.flatMap((claim) => claim.evidence);
    this.missing = new Set(evidence.map(({ index, leafHash }) => `${index} ${leafHash}`));
    this.charge = manifest.privacy && chargeOf(manifest.privacy);
  }

  record({ index, header, leafHash }: EvidenceRecord): void {
    const hash = hex(leafHash);
    this.missing.delete(`${index} ${hash}`);
    if (index === this.own.index && hash === this.own.leafHash) this.found = header;
    const { privacy } = this.manifest;
    if (privacy === undefined) return;
    const isUpTo = index <= this.own.index;
    if (header === undefined || isHiddenSpend(header)) {
      if (isUpTo)
        this.unreadable ??= new Failure('spend-unreadable', `entry ${index}: it could be a spend of the budget`);
    } else if (isSpend(header, privacy.budget)) {
      if (isUpTo) this.add(privacy, index, header);
      else this.later++;
    }
  }

  /** Performs step 10.6 for a spend. */
  private add({ flavor, unit, relation }: Privacy, index: number, { attributes = {} }: Header): void {
    this.spends++;
    const { flavor: theirs, privacyUnit, neighboringRelation } = attributes;
    if (theirs !== flavor || privacyUnit !== unit || neighboringRelation !== relation) {
      this.different ??= new Failure(
        'spend-differs',
        `entry ${index}: its flavor, privacy unit or neighboring relation is not that of the manifest`,
      );
      return;
    }
    const amount = parseDecimal(attributes[this.charge?.name ?? 'epsilon'] ?? '');
    if (amount === undefined)
      this.different ??= new Failure('spend-unreadable', `entry ${index}: its amount is not a decimal`);
    else this.sum += amount.units;
  }

  /** Performs steps 10.2 to 10.7. */
  judge(): void {
    const { privacy } = this.manifest;
    const { index } = this.own;
    if (this.found === undefined)
      throw new Failure('entry-missing', `the stream has no entry ${index} with the leaf hash of the receipt`);
    if (privacy !== undefined && !isSameSpend(this.found, privacy))
      throw new Failure('entry-differs', `entry ${index}: its header has another spend than the manifest`);
    for (const entry of this.missing)
      throw new Failure('evidence-missing', `the stream has no entry with this index and leaf hash: ${entry}`);
    const fault = this.unreadable ?? this.different;
    if (fault !== undefined) throw fault;
    if (this.charge !== undefined && this.sum > this.charge.spent.units)
      throw new Failure(
        'spent-understated',
        `${formatUnits(this.sum)} is spent by the recorded exports, but the manifest states ${this.charge.spent.text}`,
      );
  }
}

/** Reports whether the header has the spend of the manifest. */
function isSameSpend(header: Header, privacy: Privacy): boolean {
  const { attributes = {} } = header;
  const { flavor, unit, relation, epsilon, delta, rho } = privacy;
  const expected: Record<string, string | undefined> = {
    flavor,
    privacyUnit: unit,
    neighboringRelation: relation,
    epsilon: epsilon.text,
    delta: delta?.text,
    rho: rho?.text,
  };
  return (
    isSpend(header, privacy.budget) && Object.entries(expected).every(([name, value]) => attributes[name] === value)
  );
}
