/**
 * Verification of a bundle, in the steps of sigstore-verification.md,
 * section 5.
 */

import { concat, equal, hex, utf8 } from '../bytes.js';
import { FormatError } from '../errors.js';
import { readPem } from '../pem.js';
import { digest, loadKey, signedBy, sigstoreHashes, type Hash, type PublicKey } from './algorithms.js';
import { canonicalV2, kindOf, readBody, type Body } from './body.js';
import { parseBundle, type Bundle, type LogEntry } from './bundle.js';
import {
  codeSigning,
  findPath,
  issuerName,
  isValidAt,
  loadCertificate,
  subjectName,
  type Certificate,
} from './certificates.js';
import { checkPromise, checkProof } from './checkpoint.js';
import { refused, SigstoreError, TrustError } from './errors.js';
import { hasScts, hasValidSct } from './sct.js';
import { isOneOf, payloadType, subjectsOf } from './statement.js';
import { stampTime } from './timestamps.js';
import { contains, parseTrustedRoot, type Log, type TrustedRoot } from './trustedroot.js';

const maxRoots = 16;
const maxKeys = 64;

/** An accepted identity: the name in the certificate, and its OIDC issuer. */
export interface Identity {
  /** The URI or e-mail address in the certificate, compared exactly. */
  name: string;
  /** The URL of the OIDC issuer, compared exactly. */
  issuer: string;
}

/** Which bundles to accept. Specify either identities or keys. */
export interface TrustOptions {
  /** Documents such as Sigstore's trusted_root.json. */
  roots: Uint8Array[];
  /** The accepted identities. */
  identities?: Identity[];
  /** Public keys in PEM. */
  keys?: Uint8Array[];
}

/** What a bundle is about. */
export interface BundleOptions {
  /** What was signed. Required for bare signatures. */
  artifact?: Uint8Array;
  /** The SHA-256 of the artifact, which is enough for envelopes. */
  artifactSha256?: Uint8Array;
}

/** What a verified bundle proves. */
export interface VerifiedBundle {
  /** Undefined if the bundle was signed with a key. */
  identity?: Identity;
  /** The index of the key. Undefined if the bundle was signed with a certificate. */
  key?: number;
  /** Of the envelope. Undefined for a bare signature. */
  payloadType?: string;
  /** Of the envelope. Undefined for a bare signature. */
  payload?: Uint8Array;
  /** The signed times in Unix milliseconds. Empty for keys. */
  times: number[];
}

/** The trusted roots, and the accepted identities or keys. */
export class Trust {
  private constructor(
    private readonly roots: TrustedRoot[],
    private readonly identities: Identity[],
    private readonly keys: PublicKey[],
  ) {}

  /**
   * Checks the inputs of a verification. Keyless verification requires
   * identities with a name and an issuer.
   *
   * @throws TrustError if an input is missing or malformed
   */
  static async create({ roots, identities = [], keys = [] }: TrustOptions): Promise<Trust> {
    if ((identities.length === 0) === (keys.length === 0))
      throw new TrustError('policy-missing', 'specify either identities or keys');
    if (!identities.every(({ name, issuer }) => name !== '' && issuer !== ''))
      throw new TrustError('identity-missing', 'an identity needs a name and an issuer');
    if (keys.length > maxKeys) throw new TrustError('key-malformed', `more than ${maxKeys} keys`);
    const publicKeys = await callersFault('key-malformed', () => Promise.all(keys.map(readKey)));
    if (roots.length === 0 || roots.length > maxRoots)
      throw new TrustError('trusted-root-malformed', `specify 1 to ${maxRoots} trusted roots`);
    const parsed = await callersFault('trusted-root-malformed', () => Promise.all(roots.map(parseTrustedRoot)));
    return new Trust(parsed, [...identities], publicKeys);
  }

  /** @internal Returns the trust in inputs that were checked before. */
  static of(roots: TrustedRoot[], identities: Identity[], keys: PublicKey[]): Trust {
    return new Trust(roots, identities, keys);
  }

  /**
   * Verifies a bundle. An envelope can be verified without an artifact: then
   * the caller must compare its content.
   *
   * @throws BundleRefusedError if the bundle is refused
   * @throws TrustError with the code `artifact-missing` if the bundle has a
   *   bare signature and the artifact is not given
   */
  async verify(bundle: Uint8Array, options: BundleOptions = {}): Promise<VerifiedBundle> {
    const parsed = parseBundle(bundle);
    let furthest: SigstoreError | undefined;
    for (const root of this.roots)
      for (const [index, key] of this.keys.length > 0 ? this.keys.entries() : [[0, undefined] as const]) {
        const attempt = new Attempt(parsed, root, this.identities, key, options);
        try {
          const identity = await attempt.run();
          return {
            ...(identity === undefined ? { key: index } : { identity }),
            ...parsed.envelope,
            times: attempt.times,
          };
        } catch (error) {
          if (!(error instanceof SigstoreError)) throw error;
          if (furthest === undefined || error.step > furthest.step) furthest = error;
        }
      }
    throw furthest ?? new TrustError('policy-missing', 'no trusted root');
  }
}

async function callersFault<T>(code: 'key-malformed' | 'trusted-root-malformed', run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof FormatError) throw new TrustError(code, error.message);
    throw error;
  }
}

/**
 * Reads a public key in PEM.
 *
 * @throws FormatError
 */
export async function readKey(pem: Uint8Array): Promise<PublicKey> {
  const { label, der } = readPem(pem);
  if (label !== 'PUBLIC KEY') throw new FormatError('not a public key');
  return await loadKey(der);
}

/** The verification of a bundle under one root, with one key or none. */
class Attempt {
  times: number[] = [];
  private message = new Uint8Array();

  constructor(
    private readonly bundle: Bundle,
    private readonly root: TrustedRoot,
    private readonly identities: Identity[],
    private readonly key: PublicKey | undefined,
    private readonly options: BundleOptions,
  ) {}

  /** Performs steps 2 to 9. */
  async run(): Promise<Identity | undefined> {
    const { certificate } = this.bundle;
    if ((this.key === undefined) !== (certificate !== undefined))
      throw refused('material-mismatch', `the bundle was signed with a ${certificate ? 'certificate' : 'key'}`);
    await this.checkArtifact();
    await this.checkEntries();
    if (certificate === undefined || this.key !== undefined) {
      await this.checkSignature(this.key);
      return undefined;
    }
    await this.checkTimes();
    const leaf = await this.loadCertificate(certificate);
    const paths = await this.checkCertificate(leaf);
    if (!hasScts(leaf)) throw refused('sct-missing', 'the certificate has no signed certificate timestamp');
    if (!(await this.hasSct(paths))) throw refused('sct-invalid', 'no signed certificate timestamp is valid');
    await this.checkSignature(leaf.key);
    return this.checkIdentity(leaf);
  }

  /** Performs step 3. */
  private async checkArtifact(): Promise<void> {
    const { bare, envelope } = this.bundle;
    const { artifact, artifactSha256 } = this.options;
    if (bare !== undefined) {
      const hash = sigstoreHashes.get(bare.algorithm);
      if (hash === undefined) throw refused('algorithm-unsupported', 'unsupported digest of the artifact');
      if (artifact === undefined) throw new TrustError('artifact-missing', 'a bare signature is over the artifact');
      if (!equal(await digest(hash, artifact), bare.digest))
        throw refused('artifact-mismatch', 'the signature is over another artifact');
      this.message = Uint8Array.from(artifact);
      return;
    }
    const type = utf8(envelope?.payloadType ?? '');
    const payload = envelope?.payload ?? new Uint8Array();
    this.message = Uint8Array.from(concat(utf8(`DSSEv1 ${type.length} `), type, utf8(` ${payload.length} `), payload));
    if (artifact === undefined && artifactSha256 === undefined) return;
    if (envelope?.payloadType !== payloadType)
      throw refused('statement-malformed', "the envelope's content is no statement");
    if (!isOneOf(await this.digests(), readSubjects(payload)))
      throw refused('artifact-mismatch', 'the artifact is not a subject');
  }

  private async digests(): Promise<Map<string, Uint8Array>> {
    const { artifact, artifactSha256 } = this.options;
    if (artifact === undefined) return new Map([['sha256', artifactSha256 ?? new Uint8Array()]]);
    return new Map([
      ['sha256', await digest('SHA-256', artifact)],
      ['sha384', await digest('SHA-384', artifact)],
      ['sha512', await digest('SHA-512', artifact)],
    ]);
  }

  private logOf(entry: LogEntry): Log | undefined {
    return this.root.logs.get(hex(entry.log));
  }

  /** Performs step 4. */
  private async checkEntries(): Promise<void> {
    const { entries } = this.bundle;
    if (entries.length === 0) throw refused('entry-missing', 'the bundle has no log entry');
    if (new Set(entries.map((entry) => `${hex(entry.log)} ${entry.index}`)).size !== entries.length)
      throw refused('entry-duplicate', 'two log entries have the same log and index');
    for (const entry of entries) {
      await this.checkBody(entry);
      const log = this.logOf(entry);
      if (log === undefined) continue;
      if (entry.promise !== undefined) await checkPromise(entry, entry.promise, log);
      if (entry.proof !== undefined) await checkProof(entry, entry.proof, log);
    }
    if (!entries.some((entry) => this.logOf(entry)))
      throw refused('log-unknown', "the trusted root has none of the entries' logs");
  }

  /** Performs step 4.1. */
  private async checkBody(entry: LogEntry): Promise<void> {
    const { bare, envelope, certificate, signature } = this.bundle;
    const kind = kindOf(entry.kind, entry.version);
    if (!(bare === undefined ? kind?.envelope : kind?.bare))
      throw refused('entry-kind', "the log entry's kind is not supported");
    const body = readEntryBody(entry);
    const verifier = this.key?.spki ?? certificate ?? new Uint8Array();
    if (!equal(body.signature, signature)) throw refused('entry-signature', 'the log entry is about another signature');
    if (body.isKey !== (this.key !== undefined) || !equal(body.verifier ?? new Uint8Array(), verifier))
      throw refused('entry-key', 'the log entry is about another certificate or key');
    if (entry.isV2) {
      await this.checkBodyV2(entry, body);
      return;
    }
    const hash = bare === undefined ? 'SHA-256' : sigstoreHashes.get(bare.algorithm);
    const expected = bare?.digest ?? (await digest('SHA-256', envelope?.payload ?? new Uint8Array()));
    if (body.algorithm !== hash?.toLowerCase().replace('-', '') || !equal(body.digest, expected))
      throw refused('entry-digest', 'the log entry is about other content');
  }

  private async checkBodyV2(entry: LogEntry, body: Body): Promise<void> {
    const key = supported(this.key ?? (await this.loadCertificate(this.bundle.certificate)).key);
    const [usual] = key.hashes;
    if (usual === undefined) throw refused('algorithm-unsupported', 'Ed25519ph is not supported');
    if (!equal(body.digest, await digest(usual, this.message)))
      throw refused('entry-digest', 'the log entry is about other content');
    if (!equal(entry.body, utf8(canonicalV2(body, key))))
      throw refused('entry-malformed', 'the log entry is not in its canonical form');
  }

  /** Performs step 5. */
  private async checkTimes(): Promise<void> {
    const { entries, stamps, signature } = this.bundle;
    for (const entry of entries)
      if (entry.promise !== undefined && this.logOf(entry)) this.times.push(entry.integratedTime * 1000);
    for (const stamp of stamps) {
      const time = await stampTime(stamp, signature, this.root.timestampAuthorities);
      if (time !== undefined) this.times.push(time);
    }
    if (this.times.length === 0 && stamps.length > 0) throw refused('timestamp-invalid', 'no timestamp is valid');
    if (this.times.length === 0) throw refused('time-missing', 'cannot establish the signing time');
    for (const entry of entries) {
      const log = this.logOf(entry);
      if (log === undefined || entry.promise !== undefined) continue;
      if (!this.times.some((time) => contains(log.valid, time)))
        throw refused('log-validity', "the log's key is not valid at the signing time");
    }
  }

  private async loadCertificate(der: Uint8Array = new Uint8Array()): Promise<Certificate> {
    try {
      return await loadCertificate(der);
    } catch (error) {
      if (error instanceof FormatError) throw refused('certificate-malformed', error.message);
      throw error;
    }
  }

  /** Performs step 6. Returns the paths. */
  private async checkCertificate(certificate: Certificate): Promise<Certificate[][]> {
    supported(certificate.key);
    const logged = this.bundle.entries.map((entry) => entry.integratedTime * 1000).filter((time) => time !== 0);
    if (![...this.times, ...logged].every((time) => isValidAt(certificate, time)))
      throw refused('certificate-time', 'the certificate is not valid at the signing time');
    const paths: Certificate[][] = [];
    for (const time of this.times) {
      let found = false;
      for (const authority of this.root.certificateAuthorities) {
        if (!contains(authority.valid, time)) continue;
        const path = await findPath(certificate, authority, codeSigning, time);
        if (path === undefined) continue;
        paths.push(path);
        found = true;
      }
      if (!found) throw refused('certificate-untrusted', 'no authority of the trusted root issued the certificate');
    }
    return paths;
  }

  /** Performs step 7. */
  private async hasSct(paths: Certificate[][]): Promise<boolean> {
    try {
      for (const path of paths) if (await hasValidSct(path, this.root.ctLogs)) return true;
    } catch {
      // The parsers throw errors of many types.
    }
    return false;
  }

  /** Performs step 8. */
  private async checkSignature(given: PublicKey | undefined): Promise<void> {
    const key = supported(given);
    const { bare, signature } = this.bundle;
    let hashes: (Hash | undefined)[] = key.hashes.length > 0 ? key.hashes : [undefined];
    if (bare !== undefined) {
      const hash = key.hashes.find((h) => h === sigstoreHashes.get(bare.algorithm));
      if (hash === undefined)
        throw refused('algorithm-unsupported', 'bare signatures over this digest are not supported for the key');
      hashes = [hash];
    }
    for (const hash of hashes) if (await signedBy(key, hash, this.message, signature)) return;
    throw refused('signature', 'the signature is not by the key, or over other content');
  }

  /** Performs step 9. */
  private checkIdentity(certificate: Certificate): Identity {
    const signer = { name: subjectName(certificate), issuer: issuerName(certificate) };
    const issued = this.identities.filter(({ issuer }) => issuer === signer.issuer);
    if (issued.length === 0) throw refused('issuer-mismatch', 'the identity is from another issuer');
    if (!issued.some(({ name }) => name === signer.name))
      throw refused('identity-mismatch', 'the certificate was issued to another identity');
    return signer;
  }
}

function supported(key: PublicKey | undefined): PublicKey {
  if (key?.supported !== true) throw refused('algorithm-unsupported', 'the type of the key is not supported');
  return key;
}

function readSubjects(payload: Uint8Array) {
  try {
    return subjectsOf(payload);
  } catch (error) {
    if (error instanceof FormatError) throw refused('statement-malformed', error.message);
    throw error;
  }
}

function readEntryBody(entry: LogEntry): Body {
  try {
    return readBody(entry.body, entry.kind, entry.version);
  } catch (error) {
    if (error instanceof FormatError) throw refused('entry-malformed', error.message);
    throw error;
  }
}
