/**
 * Offline verification of exports (docs/spec/export-manifest.md), for browsers
 * and Node.
 */

export { EXPORT_STEPS, ExportError, type ExportCode } from './errors.js';
export { MAX_EXPORT_MANIFEST_BYTES } from './envelope.js';
export { folderOf, type ByteStream, type Folder, type Sha256 } from './files.js';
export { tableVersions, type Geography, type TableVersions } from './lookup.js';
export type { ExportClaimed, ExportProven, ExportWarning, VerifiedExport } from './report.js';
export { parseRequirements, Requirements, type PrivacyLimit, type RequirementsJson } from './requirements.js';
export type { Limit, Use } from './statement.js';
export type { StreamFacts } from './stream.js';
export { EXPORT_PREDICATE_TYPE } from '../spends.js';
export { MAX_EXPORT_RECEIPT_BYTES, verifyExport, type CertificateVerifier, type ExportOptions } from './verify.js';
export { PublicKey } from '../publickey.js';
export type { Decimal } from '../decimal.js';
export type { Input, Source } from '../source.js';
