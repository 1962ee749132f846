/** The reports on failed verifications. */

import { EvidenceError } from '../bundle/errors.js';
import { CallerError, NotVerifiedError } from '../errors.js';
import { ExportError } from '../export/errors.js';
import { FailedReport } from '../report/report.js';
import type { VerificationKind } from '../report/sections.js';
import { SigstoreError, TrustError } from '../sigstore/errors.js';

/** The codes of errors of this layer, whose step is 0 (verify.md, section 3). */
export type CallCode =
  | 'unreadable'
  | 'kind-unknown'
  | 'input-unexpected'
  | 'stream-key-missing'
  | 'policy-missing'
  | 'expectation-malformed';

/** The call is wrong, so there is no verdict. */
export class CallFailure extends Error {
  constructor(
    readonly code: CallCode,
    message: string,
  ) {
    super(message);
  }
}

/** Returns the report on an error, or throws it again if it is none of a verification. */
export function failed<K extends VerificationKind>(file: string, kind: K | undefined, error: unknown): FailedReport<K> {
  const report = (verdict: 'not-verified' | 'error', code: string, step: number) =>
    new FailedReport(file, kind, verdict, code, verdict === 'error' ? 0 : step, (error as Error).message);
  if (error instanceof NotVerifiedError) return report('not-verified', error.code, error.step);
  if (error instanceof CallerError || error instanceof CallFailure) return report('error', error.code, 0);
  if (error instanceof SigstoreError)
    return report(error instanceof TrustError ? 'error' : 'not-verified', error.code, error.step);
  if (error instanceof ExportError || error instanceof EvidenceError)
    return report(error.verdict === 'refused' ? 'not-verified' : 'error', error.code, error.step);
  throw error;
}
