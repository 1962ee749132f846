/**
 * Offline verifier for Muniment receipts, by docs/spec/entry.md and docs/spec/receipt.md alone. Runs in browsers and in
 * Node, needs nothing from the log: a receipt and a policy are enough.
 */

export { FormatError, MunimentError, NotVerifiedError, OptionError, PolicyError, type Step } from './errors.js';
export { parseHeader, type Artifact, type External, type Header, type Signer } from './header.js';
export { MAX_POLICY_BYTES, parsePolicy, type Policy } from './policy.js';
export type { Checkpoint, Proof, SignatureLine } from './proof.js';
export { MAX_RECEIPT_BYTES, MEDIA_TYPE, parseReceipt, type Form, type Receipt } from './receipt.js';
export { keyId, type Algorithm, type Key } from './signatures.js';
export { verify, type Options, type Statement } from './verify.js';
export type { ByteSource, Link } from './entry.js';
