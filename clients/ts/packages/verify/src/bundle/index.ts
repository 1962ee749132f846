/**
 * Offline verification of evidence bundles (docs/spec/bundle.md), for browsers
 * and Node.
 */

export { EVIDENCE_STEPS, EvidenceError, type EvidenceCode } from './errors.js';
export type { EvidenceManifest, EvidenceMember, SelectedArtifact, SelectedPart, Selection } from './manifest.js';
export type { EvidenceRecord, PayloadState } from './records.js';
export { verifyEvidence, type EvidenceOptions, type EvidenceReport } from './verify.js';
export type { Input, Source } from '../source.js';
