/** Verification of Sigstore bundles with a configuration. */

import { sha256 } from '@noble/hashes/sha2.js';
import { fromHex, hex } from '../bytes.js';
import type { Configuration } from '../configuration.js';
import { FormatError } from '../errors.js';
import { VerifiedReport, type Report, type ReportedSigner, type SigstoreClaimed } from '../report/report.js';
import { MAX_BUNDLE_BYTES } from '../sigstore/bundle.js';
import { SigstoreError, TrustError } from '../sigstore/errors.js';
import { payloadType as statementType, readStatement } from '../sigstore/statement.js';
import { Trust, type BundleOptions, type VerifiedBundle } from '../sigstore/verify.js';
import type { Input } from '../source.js';
import { CallFailure, failed } from './failure.js';
import { contentOf, readAll, type InputFile, type SigstoreInputs } from './inputs.js';

/**
 * Verifies a Sigstore bundle (sigstore-verification.md). Give the artifact:
 * otherwise the report only states that somebody signed something.
 */
export async function verifyBundle(
  configuration: Configuration,
  file: InputFile,
  { artifact }: SigstoreInputs = {},
): Promise<Report<'sigstore-bundle'>> {
  try {
    const options = artifact === undefined ? {} : await readArtifact(artifact);
    const bundle = await readAll(file.name, contentOf(file), MAX_BUNDLE_BYTES);
    const { signer, verified } = await verifyWith(configuration, bundle, options);
    const { times, payload, payloadType } = verified;
    const artifactSha256 = options.artifact === undefined ? options.artifactSha256 : sha256(options.artifact);
    return new VerifiedReport(
      file.name,
      'sigstore-bundle',
      {
        bundleSha256: hex(sha256(bundle)),
        signer,
        ...(verified.identity && { times: [...new Set(times)].sort((a, b) => a - b) }),
        ...(artifactSha256 && { artifactSha256: hex(artifactSha256) }),
        ...(payloadType !== undefined && { payloadType }),
        ...(payload && { payloadSha256: hex(sha256(payload)) }),
      },
      claimsOf(verified),
      artifact === undefined ? ['artifact-not-checked'] : [],
    );
  } catch (error) {
    return failed(file.name, 'sigstore-bundle', error);
  }
}

async function readArtifact(artifact: Input | string): Promise<BundleOptions> {
  if (typeof artifact !== 'string') return { artifact: await readAll('artifact', artifact, Number.MAX_SAFE_INTEGER) };
  const [, digits = ''] = /^sha256:([0-9A-Fa-f]{64})$/.exec(artifact) ?? [];
  const artifactSha256 = fromHex(digits.toLowerCase());
  if (artifactSha256?.length !== 32)
    throw new CallFailure('expectation-malformed', 'artifact: must be sha256: and 64 hexadecimal digits');
  return { artifactSha256 };
}

/** Verifies a bundle with the identities, or with the keys if it has no certificate. */
async function verifyWith(
  { parts: { identities, keys, roots } }: Configuration,
  bundle: Uint8Array,
  options: BundleOptions,
): Promise<{ signer: ReportedSigner; verified: VerifiedBundle }> {
  if (identities !== undefined) {
    try {
      const verified = await identities.verify(bundle, options);
      const { name: identity = '', issuer = '' } = verified.identity ?? {};
      return { signer: { identity, issuer }, verified };
    } catch (error) {
      if (!(error instanceof SigstoreError && error.code === 'material-mismatch' && keys.length > 0)) throw error;
    }
  }
  if (keys.length === 0) throw new TrustError('policy-missing', 'no identities and no trusted keys are configured');
  const trust = Trust.of(
    roots,
    [],
    keys.map(({ sigstore }) => sigstore),
  );
  const verified = await trust.verify(bundle, options);
  return { signer: { keyId: keys[verified.key ?? 0]?.id ?? '' }, verified };
}

function claimsOf({ payload, payloadType }: VerifiedBundle): SigstoreClaimed {
  if (payload === undefined || payloadType !== statementType) return {};
  try {
    const { predicateType, subjects } = readStatement(payload);
    return { predicateType, subjects: subjects.length };
  } catch (error) {
    if (error instanceof FormatError) return {};
    throw error;
  }
}
