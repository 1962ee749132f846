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
export { KINDS, type Kind } from './kinds.js';
export { MAX_POLICY_BYTES, parsePolicy, type Policy } from './policy.js';
export { parseProof, type Checkpoint, type Proof, type SignatureLine } from './proof.js';
export { MAX_RECEIPT_BYTES, MEDIA_TYPE, parseReceipt, type Form, type Receipt } from './receipt.js';
export { keyId, type Algorithm, type Key } from './signatures.js';
export { reportOf, type Report, type Statement, type Warning } from './statement.js';
export { parseStreamKey } from './streamkey.js';
export { verify } from './verify.js';
export { VERSION } from './version.js';
export type { ByteSource, Link } from './entry.js';
