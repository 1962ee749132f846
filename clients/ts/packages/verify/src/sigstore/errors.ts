/**
 * The errors of the verification of Sigstore bundles, each with a code
 * (sigstore-verification.md, section 5).
 */

/** The reason why a bundle was refused or not checked. */
export type SigstoreCode =
  | 'policy-missing'
  | 'identity-missing'
  | 'key-malformed'
  | 'trusted-root-malformed'
  | 'bundle-malformed'
  | 'bundle-version'
  | 'promise-missing'
  | 'proof-missing'
  | 'material-mismatch'
  | 'artifact-missing'
  | 'statement-malformed'
  | 'artifact-mismatch'
  | 'entry-missing'
  | 'entry-duplicate'
  | 'entry-kind'
  | 'entry-malformed'
  | 'entry-signature'
  | 'entry-key'
  | 'entry-digest'
  | 'promise-signature'
  | 'checkpoint-invalid'
  | 'checkpoint-mismatch'
  | 'inclusion'
  | 'log-unknown'
  | 'log-validity'
  | 'time-missing'
  | 'timestamp-invalid'
  | 'certificate-malformed'
  | 'certificate-time'
  | 'certificate-untrusted'
  | 'sct-missing'
  | 'sct-invalid'
  | 'algorithm-unsupported'
  | 'signature'
  | 'issuer-mismatch'
  | 'identity-mismatch'
  | 'library';

/** Maps each reason code to its step. This verifier never returns `library`. */
export const SIGSTORE_STEPS: Readonly<Record<SigstoreCode, number>> = {
  'policy-missing': 0,
  'identity-missing': 0,
  'key-malformed': 0,
  'trusted-root-malformed': 0,
  'bundle-malformed': 1,
  'bundle-version': 1,
  'promise-missing': 1,
  'proof-missing': 1,
  'material-mismatch': 2,
  'artifact-missing': 3,
  'statement-malformed': 3,
  'artifact-mismatch': 3,
  'entry-missing': 4,
  'entry-duplicate': 4,
  'entry-kind': 4,
  'entry-malformed': 4,
  'entry-signature': 4,
  'entry-key': 4,
  'entry-digest': 4,
  'promise-signature': 4,
  'checkpoint-invalid': 4,
  'checkpoint-mismatch': 4,
  inclusion: 4,
  'log-unknown': 4,
  'log-validity': 5,
  'time-missing': 5,
  'timestamp-invalid': 5,
  'certificate-malformed': 6,
  'certificate-time': 6,
  'certificate-untrusted': 6,
  'sct-missing': 7,
  'sct-invalid': 7,
  'algorithm-unsupported': 8,
  signature: 8,
  'issuer-mismatch': 9,
  'identity-mismatch': 9,
  library: 10,
};

/**
 * The base of the errors of this module. `message` is for people and may change
 * between versions.
 */
export class SigstoreError extends Error {
  /** The name of the class. */
  override name = 'SigstoreError';
  /** Creates an error with a code and a message. */
  constructor(
    /** The reason, for programs. It does not change between versions. */
    readonly code: SigstoreCode,
    message: string,
  ) {
    super(message);
  }

  /** The number of the step that failed. */
  get step(): number {
    return SIGSTORE_STEPS[this.code];
  }
}

/** The bundle was refused. */
export class BundleRefusedError extends SigstoreError {
  override name = 'BundleRefusedError';
}

/** The call was wrong, so there is no verdict on the bundle. */
export class TrustError extends SigstoreError {
  override name = 'TrustError';
}

/** Returns the error of a refused bundle. */
export function refused(code: SigstoreCode, message: string): BundleRefusedError {
  return new BundleRefusedError(code, message);
}
