/**
 * `@sigstore/verify` as an oracle beside this package's verifier of Sigstore
 * bundles (sigstore-verification.md, section 13).
 */

import { bundleFromJSON, type SerializedBundle } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { PolicyError, toSignedEntity, toTrustMaterial, VerificationError, Verifier } from '@sigstore/verify';
import { createHash, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SigstoreError, Trust, type Identity } from '../src/sigstore/index.js';
import { specText } from './vectors.js';

/** A bundle, and the inputs of its verification. */
export interface Question {
  bundle: Uint8Array;
  roots: Uint8Array[];
  identities: Identity[];
  keys: Uint8Array[];
  artifact?: Uint8Array;
  artifactSha256?: Uint8Array;
}

/** Returns `verified`, or the reason of this package's verifier. */
export async function ours(question: Question): Promise<string> {
  try {
    const trust = await Trust.create(question);
    await trust.verify(question.bundle, question);
    return 'verified';
  } catch (error) {
    if (error instanceof SigstoreError) return error.code;
    throw error;
  }
}

/**
 * Returns `verified`, or the code of the first error of `@sigstore/verify`.
 * Errors without a code are `malformed`.
 */
export function theirs({ bundle, roots, identities, keys, artifact }: Question): string {
  const reasons: string[] = [];
  for (const root of roots)
    for (const key of keys.length > 0 ? keys : [undefined])
      for (const identity of identities.length > 0 ? identities : [undefined])
        try {
          verifyOnce(text(bundle), text(root), identity, key, artifact);
          return 'verified';
        } catch (error) {
          const isCoded = error instanceof VerificationError || error instanceof PolicyError;
          reasons.push(isCoded ? error.code : 'malformed');
        }
  return reasons[0] ?? 'malformed';
}

function verifyOnce(
  bundle: string,
  root: string,
  identity: Identity | undefined,
  key: Uint8Array | undefined,
  artifact: Uint8Array | undefined,
): void {
  const ids = checkpointIds(root);
  const named = (document: string) => [...ids].reduce((out, [from, to]) => out.replaceAll(from, to), document);
  const parsed = bundleFromJSON(JSON.parse(named(bundle)) as SerializedBundle);
  const material = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(named(root))), () => {
    if (key === undefined) throw new Error('no key is trusted');
    return { publicKey: createPublicKey(text(key)), validFor: () => true };
  });
  // As in section 5: keys have no period of validity, so need no signed time.
  const threshold = key === undefined ? 1 : 0;
  const verifier = new Verifier(material, { timestampThreshold: threshold, ctlogThreshold: threshold });
  verifier.verify(toSignedEntity(parsed, artifact && Buffer.from(artifact)), {
    ...(identity && {
      subjectAlternativeName: `^${identity.name.replace(/[^A-Za-z0-9]/g, '\\$&')}$`,
      extensions: { issuer: identity.issuer },
    }),
  });
}

/**
 * Maps the ID of each Ed25519 log to the one of its key in checkpoints.
 * `@sigstore/verify` requires the latter, which the public logs use, and their
 * ID is not signed.
 */
function checkpointIds(root: string): Map<string, string> {
  const { tlogs = [] } = JSON.parse(root) as {
    tlogs?: { baseUrl?: string; logId: { keyId: string }; publicKey: { rawBytes: string; keyDetails: string } }[];
  };
  return new Map(
    tlogs
      .filter(({ publicKey }) => publicKey.keyDetails === 'PKIX_ED25519')
      .map(({ baseUrl = '', logId, publicKey }) => {
        const origin = new URL(baseUrl).hostname;
        const raw = Buffer.from(publicKey.rawBytes, 'base64').subarray(-32);
        const id = createHash('sha256').update(`${origin}\n\u0001`).update(raw).digest('base64');
        return [logId.keyId, id];
      }),
  );
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

/** Two verdicts of which exactly one is `verified`. */
export type Difference = `${string} ${string}`;

/** The differences found, each with its cases. */
export class Comparison {
  /** The number of cases. */
  compared = 0;
  /** The cases that both verified. */
  verified = 0;
  readonly differences: Record<Difference, string[]> = {};

  /** Asks both verifiers. */
  async ask(name: string, question: Question): Promise<void> {
    const [a, b] = [await ours(question), theirs(question)];
    this.compared++;
    if ((a === 'verified') !== (b === 'verified')) (this.differences[`${a} ${b}`] ??= []).push(name);
    else if (a === 'verified') this.verified++;
  }
}

/** The known differences of each oracle, in each collection of cases. */
export const known = JSON.parse(specText('vectors/sigstore-oracles.json')) as Record<
  '@sigstore/verify' | 'sigstore-go',
  Record<'vectors' | 'conformance', Record<Difference, string[]>>
>;

/** Returns the rows of the table of the differences with `@sigstore/verify`. */
export function explained(): Difference[] {
  const [, section = ''] = specText('sigstore-verification.md').split('### Differences: @sigstore/verify\n');
  return [...(section.split('\n#')[0] ?? '').matchAll(/^\| `([^`]+)` \| `([^`]+)` \| .+ \|$/gm)].map(
    ([, a = '', b = '']): Difference => `${a} ${b}`,
  );
}

/** Reads the version of the oracle that is installed. */
export function oracleVersion(): string {
  const file = new URL('../../../node_modules/@sigstore/verify/package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
