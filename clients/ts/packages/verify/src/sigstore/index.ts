/**
 * Offline verification of Sigstore bundles
 * (docs/spec/sigstore-verification.md), for browsers and Node, by WebCrypto.
 */

export { BundleRefusedError, SIGSTORE_STEPS, SigstoreError, TrustError, type SigstoreCode } from './errors.js';
export { Trust, type BundleOptions, type Identity, type TrustOptions, type VerifiedBundle } from './verify.js';
