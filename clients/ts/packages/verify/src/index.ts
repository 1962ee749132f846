/**
 * An offline verifier for Muniment receipts (docs/spec/entry.md,
 * docs/spec/receipt.md), for browsers and Node. It needs a receipt and a trust
 * policy, and no access to the log.
 */

export {
  CallerError,
  FormatError,
  MunimentError,
  NotVerifiedError,
  OptionError,
  PolicyError,
  STEPS,
  type Code,
} from './errors.js';
export type { Options } from './expectations.js';
export { parseHeader, type Artifact, type External, type Header, type Signer } from './header.js';
export { KindName } from './kinds.js';
export { MAX_POLICY_BYTES, parsePolicy, type Policy } from './policy.js';
export { parseProof, type Checkpoint, type Proof, type SignatureLine } from './proof.js';
export { MAX_RECEIPT_BYTES, MEDIA_TYPE, parseReceipt, type Form, type Receipt } from './receipt.js';
export { keyId, type Algorithm, type Key } from './signatures.js';
export { reportOf, type ReceiptReport, type Statement, type Warning } from './statement.js';
export { parseStreamKey } from './streamkey.js';
export { verify } from './verify.js';
export { VERSION } from './version.js';
export type { ByteSource, Link } from './entry.js';

export {
  Configuration,
  ConfigurationError,
  MAX_CONFIGURATION_BYTES,
  MAX_KEY_BYTES,
  parseConfiguration,
  type ConfigurationCode,
  type NamedFiles,
  type ReadFile,
} from './configuration.js';
export type { EvidenceClaimed, EvidenceProven, SpendSum, StreamClaimed } from './bundle/report.js';
export type { ExportClaimed, ExportProven } from './export/report.js';
export { folderOf, type ByteStream, type Folder } from './export/files.js';
export { evidenceOf, type ReportEvidence } from './report/evidence.js';
export {
  FailedReport,
  type ProvenAndClaimed,
  type Report,
  type ReportedSigner,
  type ReportParts,
  type SigstoreClaimed,
  type SigstoreProven,
  VerifiedReport,
} from './report/report.js';
export {
  VERIFICATION_KINDS,
  type FailedContent,
  type VerificationKind,
  type VerifiedContent,
} from './report/sections.js';
export { WARNINGS } from './report/warnings.js';
export type { Input, Source } from './source.js';
export { verifyEvidenceBundle, verifyStream } from './verification/evidence.js';
export { verifyExport } from './verification/export.js';
export { verifyFile, type AnyInputs } from './verification/file.js';
export type {
  EvidenceInputs,
  ExportInputs,
  InputFile,
  ReceiptExpectations,
  ReceiptInputs,
  SigstoreInputs,
  StreamInputs,
  Watched,
} from './verification/inputs.js';
export { verifyReceipt } from './verification/receipt.js';
export { verifyBundle } from './verification/sigstore.js';
