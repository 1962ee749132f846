/** The report on one verification (verify.md, section 4). */

import type { EvidenceClaimed, EvidenceProven, StreamClaimed } from '../bundle/report.js';
import type { ExportClaimed, ExportProven } from '../export/report.js';
import type { ReceiptReport } from '../statement.js';
import { pageOf } from './html.js';
import type { Value } from './items.js';
import type { Content, FailedContent, VerifiedContent, VerificationKind } from './sections.js';
import { textOf } from './text.js';

/** Who signed: a key, or the identity in a certificate. */
export type ReportedSigner =
  | {
      /** `sha256:` and the SHA-256 of the SubjectPublicKeyInfo. */
      keyId: string;
    }
  | {
      /** The URI or e-mail address in the certificate. */
      identity: string;
      /** The URL of the OIDC issuer. */
      issuer: string;
    };

/** What a verified Sigstore bundle proves. Hashes are in lowercase hexadecimal. */
export interface SigstoreProven {
  /** The SHA-256 of the bundle. */
  bundleSha256: string;
  /** Who signed. */
  signer: ReportedSigner;
  /** The signed times in Unix milliseconds, ascending. Absent for keys. */
  times?: number[];
  /** Absent if no artifact was given. */
  artifactSha256?: string;
  /** Of the envelope. Absent for a bare signature. */
  payloadType?: string;
  /** Of the envelope. Absent for a bare signature. */
  payloadSha256?: string;
}

/** What the statement in a verified Sigstore bundle claims. */
export interface SigstoreClaimed {
  /**
   * The type of the predicate, a URI. Absent unless the content is a statement.
   */
  predicateType?: string;
  /** The number of subjects. */
  subjects?: number;
}

/** What is proven and what is claimed in a verified report. */
export interface ProvenAndClaimed<Proven, Claimed> {
  /** What follows from signatures by trusted keys, and from hashes. */
  proven: Proven;
  /** What a signer or the log asserts, and nothing else supports. */
  claimed: Claimed;
}

/** The parts of a verified report, by kind. */
export interface ReportParts {
  /** Of a receipt (receipt.md). */
  receipt: ProvenAndClaimed<ReceiptReport['proven'], ReceiptReport['claimed']>;
  /** Of a Sigstore bundle (sigstore-verification.md). */
  'sigstore-bundle': ProvenAndClaimed<SigstoreProven, SigstoreClaimed>;
  /** Of an export with its manifest (export-manifest.md). */
  export: ProvenAndClaimed<ExportProven, ExportClaimed>;
  /** Of the tenant's stream in an evidence bundle (bundle.md). */
  stream: ProvenAndClaimed<EvidenceProven, StreamClaimed>;
  /** Of an evidence bundle (bundle.md). */
  'evidence-bundle': ProvenAndClaimed<EvidenceProven, EvidenceClaimed>;
}

/** How a report can be rendered. */
abstract class Rendered {
  /** Returns the report for people, in lines. No file controls the terminal. */
  toText(): string {
    return textOf(this.toJSON());
  }

  /** Returns one page without scripts that needs no other file. */
  toHTML(): string {
    return pageOf(this.toJSON());
  }

  /** Returns the members in the order of the specification, for JSON.stringify. */
  abstract toJSON(): Content;
}

/** The report on a verified file. */
export class VerifiedReport<K extends VerificationKind = VerificationKind> extends Rendered {
  /** The verdict. Read the warnings too before you accept the file. */
  readonly verdict = 'verified';

  /** @internal */
  constructor(
    /** The file, as the caller named it. */
    readonly file: string,
    /** The kind of the file. */
    readonly kind: K,
    /** What follows from signatures by trusted keys, and from hashes. */
    readonly proven: ReportParts[K]['proven'],
    /** What a signer or the log asserts, and nothing else supports. */
    readonly claimed: ReportParts[K]['claimed'],
    /** The codes of the checks that were not performed. */
    readonly warnings: readonly string[],
  ) {
    super();
  }

  override toJSON(): VerifiedContent {
    const { file, kind, verdict, proven, claimed, warnings } = this;
    const plain = (part: object) => part as Record<string, Value>;
    return { file, kind, verdict, proven: plain(proven), claimed: plain(claimed), warnings };
  }
}

/** The report on a file that was refused, or could not be checked. */
export class FailedReport<K extends VerificationKind = VerificationKind> extends Rendered {
  /** @internal */
  constructor(
    /** The file, as the caller named it. */
    readonly file: string,
    /** Undefined if the kind was not recognized. */
    readonly kind: K | undefined,
    /** With `error`, the file may be good or bad. */
    readonly verdict: 'not-verified' | 'error',
    /** The code of the first failing check. */
    readonly code: string,
    /** The step of the check in the specification of the kind. 0 for errors. */
    readonly step: number,
    /** A sentence for people, which may change between versions. */
    readonly message: string,
  ) {
    super();
  }

  override toJSON(): FailedContent {
    const { file, kind, verdict, code, step, message } = this;
    return { file, ...(kind === undefined ? {} : { kind }), verdict, code, step, message };
  }
}

/** The report on one verification. `verdict` distinguishes the two classes. */
export type Report<K extends VerificationKind = VerificationKind> =
  { [P in K]: VerifiedReport<P> }[K] | FailedReport<K>;
