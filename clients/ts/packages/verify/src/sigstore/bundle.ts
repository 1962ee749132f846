/** The bundle (sigstore-verification.md, section 2). */

import { FormatError } from '../errors.js';
import { parseObject, type Json } from '../json.js';
import { refused } from './errors.js';
import * as m from './members.js';

/** Size limit of bundles, in bytes. */
export const MAX_BUNDLE_BYTES = 256 << 20;

const maxEntries = 32;
const maxStamps = 32;
const maxChain = 16;
const maxHashes = 63;

/** The start of the media types of bundles. */
export const BUNDLE_TYPE_PREFIX = 'application/vnd.dev.sigstore.bundle';
const prefix = BUNDLE_TYPE_PREFIX;
const versions = new Map([
  [`${prefix}+json;version=0.1`, 1],
  [`${prefix}+json;version=0.2`, 2],
  [`${prefix}+json;version=0.3`, 3],
  [`${prefix}.v0.3+json`, 3],
]);

/** An inclusion proof. */
export interface InclusionProof {
  checkpoint?: string;
  root: Uint8Array;
  size: number;
  index: number;
  hashes: Uint8Array[];
}

/** An entry of a transparency log. */
export interface LogEntry {
  log: Uint8Array;
  kind: string;
  version: string;
  body: Uint8Array;
  index: number;
  /** In Unix seconds, 0 if absent. */
  integratedTime: number;
  promise?: Uint8Array;
  proof?: InclusionProof;
  /** Whether it is an entry of Rekor v2. */
  isV2: boolean;
}

/** A bare signature over an artifact. */
export interface Bare {
  algorithm: string;
  digest: Uint8Array;
}

/** The content of a DSSE envelope. */
export interface Envelope {
  payloadType: string;
  payload: Uint8Array;
}

/** A parsed bundle. */
export interface Bundle {
  /** Undefined if it was signed with a key. */
  certificate?: Uint8Array;
  entries: LogEntry[];
  stamps: Uint8Array[];
  signature: Uint8Array;
  bare?: Bare;
  envelope?: Envelope;
}

/**
 * Performs step 1.
 *
 * @throws BundleRefusedError
 */
export function parseBundle(data: Uint8Array): Bundle {
  if (data.length > MAX_BUNDLE_BYTES) throw refused('bundle-malformed', `the bundle exceeds ${MAX_BUNDLE_BYTES} bytes`);
  try {
    const tree = parseObject(data);
    const mediaType = tree.get('mediaType');
    const version = typeof mediaType === 'string' ? versions.get(mediaType) : 0;
    if (version === undefined) throw refused('bundle-version', 'unsupported media type');
    const bundle = readBundle(tree, version);
    for (const entry of bundle.entries) checkEntry(entry, version);
    return bundle;
  } catch (error) {
    if (error instanceof FormatError) throw refused('bundle-malformed', error.message);
    throw error;
  }
}

function readBundle(tree: m.Fields, version: number): Bundle {
  const top = m.fields(tree, 'bundle', 'mediaType', 'verificationMaterial', 'messageSignature', 'dsseEnvelope');
  m.text(top.get('mediaType'), 'mediaType');
  const bare = top.get('messageSignature');
  const envelope = top.get('dsseEnvelope');
  if ((bare === undefined) === (envelope === undefined))
    throw new FormatError('must have either messageSignature or dsseEnvelope');
  const material = m.fields(
    top.get('verificationMaterial'),
    'verificationMaterial',
    'certificate',
    'x509CertificateChain',
    'publicKey',
    'tlogEntries',
    'timestampVerificationData',
  );
  const signer = readSigner(material, version);
  return {
    ...(signer && { certificate: signer }),
    entries: m
      .items(material.get('tlogEntries'), 'tlogEntries', maxEntries)
      .map((value, i) => readEntry(value, `tlogEntries[${i}]`)),
    stamps: readStamps(material.get('timestampVerificationData')),
    ...(bare === undefined ? readEnvelope(envelope) : readBare(bare)),
  };
}

function readSigner(material: m.Fields, version: number): Uint8Array | undefined {
  const kinds = ['certificate', 'x509CertificateChain', 'publicKey'].filter((kind) => material.has(kind));
  const [kind] = kinds;
  if (kind === undefined || kinds.length !== 1)
    throw new FormatError('verificationMaterial: must have exactly one certificate, chain or key');
  const value = material.get(kind);
  if (kind === 'certificate') return readCertificate(value, kind);
  if (kind === 'publicKey') {
    m.optionalText(m.fields(value, kind, 'hint').get('hint'), 'publicKey.hint');
    return undefined;
  }
  if (version === 3) throw new FormatError('a bundle of version 0.3 has no x509CertificateChain');
  return readChain(value, kind)[0];
}

function readCertificate(value: Json | undefined, where: string): Uint8Array {
  return m.binary(m.fields(value, where, 'rawBytes').get('rawBytes'), `${where}.rawBytes`);
}

/** Returns the DER of the certificates of a chain. */
export function readChain(value: Json | undefined, where: string): Uint8Array[] {
  const chain = m.items(m.fields(value, where, 'certificates').get('certificates'), where, maxChain);
  if (chain.length === 0) throw new FormatError(`${where}: no certificates`);
  return chain.map((item) => readCertificate(item, where));
}

function readEntry(value: Json, where: string): LogEntry {
  const entry = m.fields(
    value,
    where,
    'logId',
    'kindVersion',
    'canonicalizedBody',
    'logIndex',
    'integratedTime',
    'inclusionPromise',
    'inclusionProof',
  );
  const kindVersion = m.fields(entry.get('kindVersion'), `${where}.kindVersion`, 'kind', 'version');
  const kind = m.text(kindVersion.get('kind'), `${where}.kindVersion.kind`);
  const version = m.text(kindVersion.get('version'), `${where}.kindVersion.version`);
  const stamp = 'signedEntryTimestamp';
  const promise = entry.get('inclusionPromise');
  const proof = entry.get('inclusionProof');
  return {
    log: m.binary(m.fields(entry.get('logId'), `${where}.logId`, 'keyId').get('keyId'), `${where}.logId.keyId`),
    kind,
    version,
    body: m.binary(entry.get('canonicalizedBody'), `${where}.canonicalizedBody`),
    index: m.integer(entry.get('logIndex'), `${where}.logIndex`),
    integratedTime: m.integer(entry.get('integratedTime'), `${where}.integratedTime`),
    ...(promise !== undefined && {
      promise: m.binary(m.fields(promise, `${where}.inclusionPromise`, stamp).get(stamp), `${where}.inclusionPromise`),
    }),
    ...(proof !== undefined && { proof: readProof(proof, `${where}.inclusionProof`) }),
    isV2: kind === 'hashedrekord' && version === '0.0.2',
  };
}

function readProof(value: Json, where: string): InclusionProof {
  const proof = m.fields(value, where, 'checkpoint', 'rootHash', 'treeSize', 'logIndex', 'hashes');
  const checkpoint = proof.get('checkpoint');
  return {
    ...(checkpoint !== undefined && {
      checkpoint: m.text(
        m.fields(checkpoint, `${where}.checkpoint`, 'envelope').get('envelope'),
        `${where}.checkpoint`,
      ),
    }),
    root: m.hash(proof.get('rootHash'), `${where}.rootHash`),
    size: m.integer(proof.get('treeSize'), `${where}.treeSize`),
    index: m.integer(proof.get('logIndex'), `${where}.logIndex`),
    hashes: m.items(proof.get('hashes'), `${where}.hashes`, maxHashes).map((item) => m.hash(item, `${where}.hashes`)),
  };
}

function readStamps(value: Json | undefined): Uint8Array[] {
  if (value === undefined) return [];
  const where = 'timestampVerificationData';
  const stamps = m.fields(value, where, 'rfc3161Timestamps').get('rfc3161Timestamps');
  const name = 'signedTimestamp';
  return m.items(stamps, where, maxStamps).map((item) => m.binary(m.fields(item, where, name).get(name), where));
}

function readBare(value: Json): { signature: Uint8Array; bare: Bare } {
  const where = 'messageSignature';
  const bare = m.fields(value, where, 'messageDigest', 'signature');
  const digest = m.fields(bare.get('messageDigest'), `${where}.messageDigest`, 'algorithm', 'digest');
  return {
    bare: {
      algorithm: m.text(digest.get('algorithm'), `${where}.messageDigest.algorithm`),
      digest: m.binary(digest.get('digest'), `${where}.messageDigest.digest`),
    },
    signature: m.binary(bare.get('signature'), `${where}.signature`),
  };
}

function readEnvelope(value: Json | undefined): { signature: Uint8Array; envelope: Envelope } {
  const where = 'dsseEnvelope';
  const envelope = m.fields(value, where, 'payload', 'payloadType', 'signatures');
  const payload = envelope.get('payload');
  const signature = m.only(envelope.get('signatures'), `${where}.signatures`, 'sig', 'keyid');
  m.optionalText(signature.get('keyid'), `${where}.signatures[0].keyid`);
  return {
    envelope: {
      payloadType: m.text(envelope.get('payloadType'), `${where}.payloadType`),
      payload: payload === '' ? new Uint8Array() : m.binary(payload, `${where}.payload`),
    },
    signature: m.binary(signature.get('sig'), `${where}.signatures[0].sig`),
  };
}

function checkEntry(entry: LogEntry, version: number): void {
  if (version === 1 && entry.promise === undefined)
    throw refused('promise-missing', 'a bundle of version 0.1 must have an inclusion promise for each log entry');
  if ((version !== 1 || entry.isV2) && entry.proof === undefined)
    throw refused('proof-missing', 'a log entry has no inclusion proof');
  if (entry.proof !== undefined && entry.proof.checkpoint === undefined)
    throw refused('proof-missing', 'an inclusion proof has no checkpoint');
}
