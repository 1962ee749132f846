/**
 * Offline verification of evidence bundles (docs/spec/bundle.md), for browsers
 * and Node.
 */

export { EVIDENCE_STEPS, EvidenceError, type EvidenceCode } from './errors.js';
export type {
  EvidenceClaimed,
  EvidenceProven,
  EvidenceWarning,
  SpendSum,
  StreamClaimed,
  VerifiedEvidence,
  VerifiedStream,
} from './report.js';
export { verifyEvidence, verifyStream, type EvidenceOptions } from './verify.js';
export type { Input, Source } from '../source.js';
