/** Verification of an export, in the steps of export-manifest.md, section 7. */

import { equal } from '../bytes.js';
import { MunimentError, NotVerifiedError } from '../errors.js';
import type { Signer } from '../header.js';
import { quote } from '../json.js';
import { Policy } from '../policy.js';
import { PublicKey } from '../publickey.js';
import { Reader, sourceOf, type Input } from '../source.js';
import { EXPORT_KIND, EXPORT_PREDICATE_TYPE } from '../spends.js';
import type { Statement } from '../statement.js';
import { verify } from '../verify.js';
import { MAX_EXPORT_MANIFEST_BYTES, parseEnvelope, type Envelope } from './envelope.js';
import { ExportError, Failure, type ExportCode } from './errors.js';
import { checkFiles, type Folder } from './files.js';
import { checkKnown, isAllowed, parseExpression } from './licenses.js';
import { loadTables } from './lookup.js';
import { checkPrivacy } from './privacy.js';
import { expressionsOf, resultOf, type VerifiedExport } from './report.js';
import { Requirements } from './requirements.js';
import { checkResidency } from './residency.js';
import { checkStream, type StreamFacts } from './stream.js';
import { parseStatement, type ExportManifest } from './statement.js';

/** Size limit of the receipt of a manifest, in bytes. */
export const MAX_EXPORT_RECEIPT_BYTES = 4 << 20;

/**
 * Verifies the certificate of a Sigstore bundle. `Trust` of
 * `@muniment/verify/sigstore`, with identities, is one.
 */
export interface CertificateVerifier {
  /** Returns what the bundle proves, or rejects if it is refused. */
  verify(bundle: Uint8Array): Promise<{
    /** The identity in the certificate. */
    identity?: {
      /** The URI or e-mail address. */
      name: string;
      /** The URL of the OIDC issuer. */
      issuer: string;
    };
    /** The payload type of the envelope. */
    payloadType?: string;
    /** The payload of the envelope. */
    payload?: Uint8Array;
  }>;
}

/** The inputs of {@link verifyExport}. Keys or certificates are required. */
export interface ExportOptions {
  /** The accepted keys. */
  keys?: readonly PublicKey[];
  /** Verifies certificates, for signers with an identity. */
  certificates?: CertificateVerifier;
  /** The folder of the export. Without it, the files are not checked. */
  files?: Folder;
  /** The receipt of the manifest's entry. */
  receipt?: Uint8Array;
  /** Required with a receipt. */
  policies?: readonly Policy[];
  /**
   * An evidence bundle of the tenant. Requires the receipt and the stream key.
   */
  stream?: Input;
  /** The stream key, 32 bytes. */
  streamKey?: Uint8Array;
  /** The expected tenant. */
  tenant?: string;
  /** The expected export ID. */
  export?: string;
  /** The licences, places and privacy loss that are required. */
  requirements?: Requirements;
  /** Interrupts the verification, which then throws the signal's reason. */
  signal?: AbortSignal;
  /**
   * Is called with the number of bytes of files that were read, and the total.
   */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Verifies the manifest of an export, as export-manifest.md, section 7,
 * specifies, with its files, receipt and stream if they are given.
 *
 * @param manifest the manifest's file, of which at most one byte more than
 *   {@link MAX_EXPORT_MANIFEST_BYTES} is read
 * @throws ExportError if the export is refused or the call is wrong; `code` and
 *   `step` give the reason
 */
export async function verifyExport(manifest: Input, options: ExportOptions): Promise<VerifiedExport> {
  checkOptions(options);
  await loadTables();
  const source = sourceOf(manifest);
  const reader = new Reader(source, unreadable, options.signal);
  const file = await reader.read(0, Math.min(source.size, MAX_EXPORT_MANIFEST_BYTES + 1));
  return await new Verification(file, options).run();
}

function unreadable(cause: unknown): ExportError {
  const reason = cause instanceof Error ? cause.message : 'read failed';
  return new ExportError('unreadable', 0, `read the manifest: ${reason}`, { cause });
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const isListOf = (value: unknown, of: typeof Policy | typeof PublicKey): boolean =>
  Array.isArray(value) && value.every((one) => one instanceof of);

/**
 * The checks of the options, in the order of the specification, each with its
 * code.
 */
const checks: Record<keyof ExportOptions, [ExportCode, (value: unknown) => boolean]> = {
  keys: ['trust-missing', (value) => isListOf(value, PublicKey)],
  certificates: ['trust-missing', isObject],
  policies: ['policy-malformed', (value) => isListOf(value, Policy)],
  streamKey: ['stream-key-malformed', (value) => value instanceof Uint8Array && value.length === 32],
  tenant: ['expectation-malformed', isText],
  export: ['expectation-malformed', isText],
  requirements: ['requirement-malformed', (value) => value instanceof Requirements],
  files: ['unreadable', isObject],
  receipt: ['unreadable', (value) => value instanceof Uint8Array],
  stream: ['unreadable', isObject],
  signal: ['expectation-malformed', (value) => value instanceof AbortSignal],
  onProgress: ['expectation-malformed', (value) => typeof value === 'function'],
};

/** Throws ExportError if an option is missing, malformed or unknown. */
function checkOptions(options: ExportOptions): void {
  const fault = (code: ExportCode, message: string) => new ExportError(code, 0, message);
  const { keys = [], certificates, receipt, policies = [], stream, streamKey } = options;
  for (const name of Object.keys(options))
    if (!Object.hasOwn(checks, name)) throw fault('expectation-malformed', `unknown option ${quote(name)}`);
  if (keys.length === 0 && certificates === undefined)
    throw fault('trust-missing', 'no public key and no identity was given: anybody can sign a manifest');
  if (receipt !== undefined && policies.length === 0)
    throw fault('policy-missing', 'a receipt requires a trust policy');
  if (stream !== undefined && receipt === undefined)
    throw fault('receipt-missing', 'a stream requires the receipt of the manifest');
  if (stream !== undefined && !Object.hasOwn(options, 'streamKey') && streamKey === undefined)
    throw fault('stream-key-missing', 'a stream requires the stream key: without it, entries could be missing');
  for (const [name, [code, isValid]] of Object.entries(checks))
    if (Object.hasOwn(options, name) && !isValid(options[name as keyof ExportOptions]))
      throw fault(code, `option ${name}: empty or malformed: omit it to accept any value`);
  if (receipt !== undefined && receipt.length > MAX_EXPORT_RECEIPT_BYTES)
    throw fault('unreadable', `the receipt exceeds ${MAX_EXPORT_RECEIPT_BYTES} bytes`);
}

class Verification {
  constructor(
    private readonly file: Uint8Array,
    private readonly options: ExportOptions,
  ) {}

  async run(): Promise<VerifiedExport> {
    const { options, file } = this;
    const { requirements, files, receipt, stream } = options;
    const envelope = await step(1, () => parseEnvelope(file));
    const signers = await step(2, () => this.checkSignature(envelope));
    const manifest = await step(3, () => parseStatement(envelope.payload));
    await step(4, () => {
      this.checkExpectations(manifest);
    });
    const isSigner = (one: Signer) => signers.some((signer) => sameSigner(signer, one));
    await step(5, () => {
      checkResidency(manifest, requirements?.residency, ({ claimedBy }) => isSigner(claimedBy));
    });
    await step(6, () => {
      checkLicenses(manifest, requirements?.licenses);
    });
    await step(7, () => {
      checkPrivacy(manifest.privacy, requirements?.epsilon, isSigner);
    });
    if (files !== undefined) await step(8, () => checkFiles(manifest.files, files, options));
    const statement = receipt && (await step(9, () => this.checkReceipt(receipt, manifest)));
    const facts = stream && statement && (await step(10, () => this.checkStream(stream, statement, manifest)));
    return resultOf({
      file,
      manifest,
      signers,
      given: {
        files: files !== undefined,
        licenses: requirements?.licenses !== undefined,
        residency: requirements?.residency !== undefined,
      },
      ...(statement && { receipt: statement }),
      ...(facts && { stream: facts }),
    });
  }

  /** Performs step 2. Returns the signers. */
  private async checkSignature(envelope: Envelope): Promise<Signer[]> {
    const { keys = [], certificates } = this.options;
    const signers: Signer[] = [];
    for (const key of keys) {
      if (signers.some(({ keyId }) => keyId === key.id)) continue;
      for (const signature of envelope.signatures)
        if (await key.verifies(envelope.message, signature)) {
          signers.push({ keyId: key.id });
          break;
        }
    }
    const problem = certificates && (await this.checkCertificate(envelope, certificates, signers));
    if (signers.length === 0)
      throw new Failure('signature-unverified', problem ?? 'none of the keys has signed it, or it was changed since');
    return signers;
  }

  /**
   * Adds the identity of the bundle's certificate, or returns what is wrong.
   */
  private async checkCertificate(
    envelope: Envelope,
    certificates: CertificateVerifier,
    signers: Signer[],
  ): Promise<string | undefined> {
    if (!envelope.isBundle) return 'the manifest is an envelope without a certificate';
    let found;
    try {
      found = await certificates.verify(this.file);
    } catch (error) {
      return error instanceof Error ? error.message : 'the certificate is not verified';
    }
    const { identity, payload, payloadType } = found;
    if (identity === undefined) return 'the bundle has no certificate';
    if (payloadType !== envelope.payloadType || payload === undefined || !equal(payload, envelope.payload))
      return 'the bundle can be read in two ways';
    signers.push({ identity: identity.name, issuer: identity.issuer });
    return undefined;
  }

  /** Performs step 4. */
  private checkExpectations({ tenant, exportId }: ExportManifest): void {
    const expected = this.options;
    if (expected.tenant !== undefined && expected.tenant !== tenant)
      throw new Failure('tenant-mismatch', `its tenant is ${tenant}`);
    if (expected.export !== undefined && expected.export !== exportId)
      throw new Failure('export-mismatch', `its export is ${exportId}`);
  }

  /** Performs step 9. */
  private checkReceipt(receipt: Uint8Array, { tenant }: ExportManifest): Statement {
    const { policies = [], streamKey } = this.options;
    return verify(receipt, policies, {
      payload: this.file,
      tenant,
      kind: EXPORT_KIND,
      predicateType: EXPORT_PREDICATE_TYPE,
      ...(streamKey && { streamKey }),
    });
  }

  /** Performs step 10. */
  private async checkStream(stream: Input, { index, leafHash }: Statement, manifest: ExportManifest) {
    const { policies = [], streamKey = new Uint8Array(), signal } = this.options;
    const own = { index, leafHash };
    const facts: StreamFacts = await checkStream(manifest, own, stream, policies, streamKey, signal);
    return facts;
  }
}

/** Performs a step, and gives its errors the number. */
async function step<T>(number: number, perform: () => Promise<T> | T): Promise<T> {
  try {
    return await perform();
  } catch (error) {
    if (error instanceof Failure) throw new ExportError(error.code, number, error.message, { cause: error.cause });
    if (error instanceof MunimentError)
      throw new ExportError(error.code, error instanceof NotVerifiedError ? number : 0, `receipt: ${error.message}`, {
        cause: error,
      });
    throw error;
  }
}

function sameSigner(a: Signer, b: Signer): boolean {
  return a.keyId === b.keyId && a.identity === b.identity && a.issuer === b.issuer;
}

/** Performs step 6. */
function checkLicenses({ files }: ExportManifest, allowed: ReadonlySet<string> | undefined): void {
  const texts = [...expressionsOf(files)];
  const expressions = texts.map(parseExpression);
  expressions.forEach(checkKnown);
  if (allowed === undefined) return;
  for (const [i, expression] of expressions.entries())
    if (!isAllowed(expression, allowed))
      throw new Failure('license-not-allowed', `licence ${quote(texts[i] ?? '')} is not allowed`);
}
