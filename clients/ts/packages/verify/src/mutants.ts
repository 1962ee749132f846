#!/usr/bin/env node
/**
 * Verdicts on a file of inputs: `node dist/mutants.js FILE` (receipt.md,
 * section 6).
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { closeSync, openSync, readSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { EvidenceError, verifyEvidence, type EvidenceOptions } from './bundle/index.js';
import { compare, hex, utf8 } from './bytes.js';
import { write } from './command/output.js';
import { ConfigurationError, parseConfiguration } from './configuration.js';
import { CallerError, FormatError, NotVerifiedError } from './errors.js';
import type { Options } from './expectations.js';
import {
  ExportError,
  folderOf,
  parseRequirements,
  PublicKey,
  verifyExport,
  type ExportOptions,
} from './export/index.js';
import { parsePolicy } from './policy.js';
import { BundleRefusedError, SigstoreError, Trust, type Identity } from './sigstore/index.js';
import { parseTrustedRoot, type Authority, type Log, type Period } from './sigstore/trustedroot.js';
import type { VerificationKind } from './report/sections.js';
import { verifyFile } from './verification/file.js';
import { reportOf, type Statement } from './statement.js';
import { parseStreamKey } from './streamkey.js';
import { verify } from './verify.js';

/**
 * A line of the file, for a receipt. Receipts, policies, keys and payloads are
 * in base64.
 */
export interface Mutant {
  id: number;
  kind?: undefined;
  receipt: string;
  policies: string[];
  streamKey?: string;
  payload?: string;
  external?: string;
  headerOnly?: true;
  expect?: Omit<Options, 'payload' | 'external' | 'headerOnly' | 'streamKey'>;
}

/** A line for an evidence bundle. */
interface EvidenceMutant {
  id: number;
  kind: 'evidence-bundle';
  bundle: string;
  policies: string[];
  streamKey?: string;
  expect?: Pick<EvidenceOptions, 'identity' | 'tenant'>;
}

/** A line for an export. */
interface ExportMutant {
  id: number;
  kind: 'export';
  manifest: string;
  keys: string[];
  policies: string[];
  files?: Record<string, string>;
  receipt?: string;
  stream?: string;
  streamKey?: string;
  requirements?: string;
  expect?: Pick<ExportOptions, 'tenant' | 'export'>;
}

/** A line for a Sigstore bundle. */
interface SigstoreMutant {
  id: number;
  kind: 'sigstore-bundle';
  bundle: string;
  roots: string[];
  identities: Identity[];
  keys: string[];
  artifact?: string;
  artifactDigest?: string;
}

const provenMembers = [
  'origin',
  'index',
  'size',
  'root',
  'leafHash',
  'tag',
  'streamId',
  'seq',
  'prev',
  'headerHash',
  'headerSha256',
  'payloadSha256',
  'externalSha256',
  'tagChecked',
  'signers',
  'policy',
  'witnessed',
] as const;

/** A line for a configuration, with a file to verify with it or none. */
interface ConfigurationMutant {
  id: number;
  kind: 'configuration';
  configuration: string;
  files: Record<string, string>;
  file?: string;
  as?: VerificationKind;
  artifact?: string;
  exported?: Record<string, string>;
  receipt?: string;
  stream?: string;
}

/** A line for a file of the caller. */
interface TrustedMutant {
  id: number;
  kind: 'trust-policy' | 'public-key' | 'trusted-root';
  file: string;
}

/** Any line. */
type AnyMutant = Mutant | EvidenceMutant | ExportMutant | SigstoreMutant | ConfigurationMutant | TrustedMutant;

/** Returns the fingerprint of a statement, in hexadecimal. */
export function fingerprint(statement: Statement): string {
  const { proven, claimed, content, warnings } = reportOf(statement);
  const members: [string, string | number | boolean | string[] | undefined][] = [
    ...provenMembers.map((name) => [name, proven[name]] as [string, string | number | boolean | string[] | undefined]),
    ['time', claimed.time],
    ['erased', claimed.erased],
    ['content', content],
    ['warnings', warnings],
  ];
  const lines = members.filter(([, value]) => value !== undefined).map(([name, value]) => `${name}=${String(value)}\n`);
  return hex(sha256(utf8(lines.join(''))));
}

/** Returns the fingerprint of any report, in hexadecimal. */
export function fingerprintOf(report: object): string {
  return hex(sha256(utf8([...leaves('', report)].join(''))));
}

function* leaves(path: string, value: unknown): Iterable<string> {
  if (Array.isArray(value)) {
    yield `${path}#${value.length}\n`;
    for (const [i, element] of value.entries()) yield* leaves(`${path}[${i}]`, element);
  } else if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).sort(([a], [b]) => compare(utf8(a), utf8(b)));
    for (const [name, member] of members) yield* leaves(`${path}.${name}`, member);
  } else {
    yield `${path}=${String(value)}\n`;
  }
}

const decode = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));

/**
 * Returns the verdict on one input, followed by the fingerprint or the reason
 * code.
 */
export async function judge(mutant: AnyMutant): Promise<string> {
  try {
    switch (mutant.kind) {
      case 'export':
        return `verified ${fingerprintOf(await judgeExport(mutant))}`;
      case 'evidence-bundle':
        return `verified ${fingerprintOf(await judgeEvidence(mutant))}`;
      case 'sigstore-bundle':
        return `verified ${fingerprintOf(await judgeSigstore(mutant))}`;
      case 'configuration':
        return await judgeConfiguration(mutant);
      case 'trust-policy':
        return `verified ${fingerprintOf(judgePolicy(decode(mutant.file)))}`;
      case 'public-key':
        return `verified ${fingerprintOf({ keyId: (await parseKey(mutant.file)).id })}`;
      case 'trusted-root':
        return `verified ${fingerprintOf(await judgeRoot(decode(mutant.file)))}`;
      case undefined:
        return `verified ${fingerprint(judgeReceipt(mutant))}`;
    }
  } catch (error) {
    if (error instanceof ExportError || error instanceof EvidenceError) return `${error.verdict} ${error.code}`;
    if (error instanceof NotVerifiedError || error instanceof BundleRefusedError) return `refused ${error.code}`;
    if (error instanceof CallerError || error instanceof SigstoreError || error instanceof ConfigurationError)
      return `not-checked ${error.code}`;
    throw error;
  }
}

function judgeReceipt(mutant: Mutant): Statement {
  const policies = mutant.policies.map((text, i) => parsePolicy(String(i), decode(text)));
  const options: Options = { ...mutant.expect };
  if (policies.length > 0 && mutant.streamKey !== undefined)
    options.streamKey = parseStreamKey(decode(mutant.streamKey));
  if (mutant.payload !== undefined) options.payload = decode(mutant.payload);
  if (mutant.external !== undefined) options.external = decode(mutant.external);
  if (mutant.headerOnly !== undefined) options.headerOnly = mutant.headerOnly;
  return verify(decode(mutant.receipt), policies, options);
}

async function judgeEvidence(mutant: EvidenceMutant): Promise<object> {
  const policies = mutant.policies.map((text, i) => parsePolicy(String(i), decode(text)));
  const options: EvidenceOptions = { ...mutant.expect };
  if (mutant.streamKey !== undefined) options.streamKey = parseStreamKey(decode(mutant.streamKey));
  const { proven, claimed } = await verifyEvidence(decode(mutant.bundle), policies, options);
  return { ...proven, ...claimed };
}

async function judgeExport(mutant: ExportMutant): Promise<object> {
  const policies = mutant.policies.map((text, i) => parsePolicy(String(i), decode(text)));
  const options: ExportOptions = { ...mutant.expect, policies };
  if (mutant.streamKey !== undefined) options.streamKey = parseStreamKey(decode(mutant.streamKey));
  options.keys = await Promise.all(mutant.keys.map(parseKey));
  if (mutant.requirements !== undefined) options.requirements = await parseRequirements(decode(mutant.requirements));
  if (mutant.receipt !== undefined) options.receipt = decode(mutant.receipt);
  if (mutant.stream !== undefined) options.stream = decode(mutant.stream);
  if (mutant.files !== undefined)
    options.files = folderOf(new Map(Object.entries(mutant.files).map(([name, text]) => [name, decode(text)])));
  return await verifyExport(decode(mutant.manifest), options);
}

async function judgeSigstore(mutant: SigstoreMutant): Promise<object> {
  const { artifact, artifactDigest } = mutant;
  const trust = await Trust.create({
    roots: mutant.roots.map(decode),
    identities: mutant.identities,
    keys: mutant.keys.map(decode),
  });
  const verified = await trust.verify(decode(mutant.bundle), {
    ...(artifact !== undefined && { artifact: decode(artifact) }),
    ...(artifactDigest !== undefined && { artifactSha256: Uint8Array.from(Buffer.from(artifactDigest, 'hex')) }),
  });
  const { identity, key, payloadType = '', payload = new Uint8Array() } = verified;
  const pem = key === undefined ? undefined : mutant.keys[key];
  return {
    identity: identity?.name ?? '',
    issuer: identity?.issuer ?? '',
    keyId: pem === undefined ? '' : (await PublicKey.parse(decode(pem))).id,
    payloadType,
    payloadSha256: hex(sha256(payload)),
  };
}

/** Parses a key in base64. The error has the code of the configuration. */
async function parseKey(text: string): Promise<PublicKey> {
  try {
    return await PublicKey.parse(decode(text));
  } catch {
    throw new ConfigurationError('key-malformed', 'not a public key');
  }
}

async function judgeConfiguration(mutant: ConfigurationMutant): Promise<string> {
  const named = new Map(Object.entries(mutant.files).map(([path, text]) => [path, decode(text)]));
  const configuration = await parseConfiguration(decode(mutant.configuration), named);
  const { file, as, artifact, exported, receipt, stream } = mutant;
  if (file === undefined) {
    const { keys, policies, streamKey } = configuration.parts;
    const of = (names: string[]) => names.join(' ');
    return `verified ${fingerprintOf({
      keys: of(keys.map(({ id }) => id)),
      policies: of(policies.map(({ name }) => name)),
      streamKey: streamKey !== undefined,
    })}`;
  }
  const report = await verifyFile(
    configuration,
    { name: 'file', content: decode(file) },
    {
      ...(as !== undefined && { kind: as }),
      ...(artifact !== undefined && { artifact: decode(artifact) }),
      ...(exported && {
        files: folderOf(new Map(Object.entries(exported).map(([name, text]) => [name, decode(text)]))),
      }),
      ...(receipt !== undefined && { receipt: decode(receipt) }),
      ...(stream !== undefined && { stream: decode(stream) }),
    },
  );
  if (report.verdict === 'verified')
    return `verified ${fingerprintOf({ report: JSON.parse(JSON.stringify(report)) as object, text: report.toText() })}`;
  return `${report.verdict === 'error' ? 'not-checked' : 'refused'} ${report.code}`;
}

function judgePolicy(text: Uint8Array): object {
  const policy = parsePolicy('0', text);
  const keys = policy.keys().map(({ name, hash }) => `${name}+${hash}`);
  keys.sort((a, b) => compare(utf8(a), utf8(b)));
  return { origin: policy.origin, witnessed: policy.asksForWitness, keys };
}

async function judgeRoot(text: Uint8Array): Promise<object> {
  let root;
  try {
    root = await parseTrustedRoot(text);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new ConfigurationError('trusted-root-malformed', error.message);
  }
  const period = ({ start, end }: Period) => `${start ?? '-'} ${end ?? '-'}`;
  const logs = (all: ReadonlyMap<string, Log>) => [...all].map(([id, { valid }]) => `${id} ${period(valid)}`).sort();
  const authorities = (all: Authority[]) => all.map((one) => `${one.certificates.length} ${period(one.valid)}`);
  return {
    logs: logs(root.logs),
    certificateLogs: logs(root.ctLogs),
    certificateAuthorities: authorities(root.certificateAuthorities),
    timestampAuthorities: authorities(root.timestampAuthorities),
  };
}

/** Yields the lines of a file, which need not fit in memory. */
function* linesOf(path: string): Iterable<string> {
  const file = openSync(path, 'r');
  const piece = Buffer.alloc(1 << 20);
  let rest = Buffer.alloc(0);
  for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
    rest = Buffer.concat([rest, piece.subarray(0, read)]);
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      yield rest.toString('utf8', 0, end);
      rest = rest.subarray(end + 1);
    }
  }
  closeSync(file);
  if (rest.length > 0) yield rest.toString('utf8');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  for (const line of linesOf(process.argv[2] ?? '')) {
    const mutant = JSON.parse(line) as AnyMutant;
    write(1, `${mutant.id} ${await judge(mutant)}\n`);
  }
