/** The configuration of verifications (verify.md, sections 1 and 2). */

import { sha256 } from '@noble/hashes/sha2.js';
import {
  array,
  check,
  custom,
  maxBytes,
  maxLength,
  minBytes,
  minLength,
  object,
  optional,
  pipe,
  safeParse,
  string,
  union,
  type InferOutput,
} from 'valibot';
import { base64, hex, utf8 } from './bytes.js';
import { FormatError, MunimentError } from './errors.js';
import { ExportError } from './export/errors.js';
import { parseRequirements, type Requirements } from './export/requirements.js';
import { parseObject, quote, type Json } from './json.js';
import { MAX_POLICY_BYTES, parsePolicy, type Policy } from './policy.js';
import { PublicKey } from './publickey.js';
import type { PublicKey as SigstoreKey } from './sigstore/algorithms.js';
import { PUBLIC_GOOD_ROOT } from './sigstore/publicgood.js';
import { MAX_ROOT_BYTES, parseTrustedRoot, type TrustedRoot } from './sigstore/trustedroot.js';
import { readKey, Trust } from './sigstore/verify.js';
import { MAX_STREAM_KEY_BYTES, parseStreamKey } from './streamkey.js';
import { normalUrl } from './urls.js';

/** Size limit of configurations, in bytes. */
export const MAX_CONFIGURATION_BYTES = 1_048_576;

/** Size limit of files with public keys, in bytes. */
export const MAX_KEY_BYTES = 65_536;

/** Why a configuration cannot be used. */
export type ConfigurationCode =
  | 'configuration-unreadable'
  | 'configuration-malformed'
  | 'configuration-unknown'
  | 'configuration-invalid'
  | 'identity-missing'
  | 'requirement-malformed'
  | 'key-malformed'
  | 'trusted-root-malformed'
  | 'policy-malformed'
  | 'stream-key-malformed'
  | 'rekor-unknown';

/**
 * The configuration cannot be used, so nothing is verified. `message` is for
 * people and may change between versions.
 */
export class ConfigurationError extends Error {
  /** The name of the class. */
  override name = 'ConfigurationError';
  /** Creates an error with a code and a message. */
  constructor(
    /** The reason, for programs. It does not change between versions. */
    readonly code: ConfigurationCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Returns the bytes of a file that a configuration names, and need not return
 * more than `limit + 1` of them. Throws if the file cannot be read.
 */
export type ReadFile = (path: string, limit: number) => Promise<Uint8Array> | Uint8Array;

/** The files that a configuration names, by their paths in it. */
export type NamedFiles = ReadonlyMap<string, Uint8Array | Blob>;

/** An accepted key. */
interface TrustedKey {
  /** `sha256:` and the SHA-256 of the SubjectPublicKeyInfo. */
  id: string;
  sigstore: SigstoreKey;
  plain: PublicKey;
}

/** What a configuration and its files specify. */
interface Parts {
  policies: Policy[];
  streamKey: Uint8Array | undefined;
  keys: TrustedKey[];
  /** Accepts the identities. Undefined: there are none. */
  identities: Trust | undefined;
  roots: TrustedRoot[];
  requirements: Requirements | undefined;
}

/**
 * What to trust, and what to require. Create one with
 * {@link parseConfiguration}, or in Node with `loadConfiguration` of
 * `@muniment/verify/node`.
 */
export class Configuration {
  readonly #parts: Parts;

  /** @internal */
  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** @internal */
  get parts(): Parts {
    return this.#parts;
  }
}

/**
 * Parses a configuration, and the files that it names.
 *
 * @param text the JSON document
 * @param files the files by their paths in the configuration, or a function
 *   that reads one
 * @throws ConfigurationError if the configuration cannot be used
 */
export async function parseConfiguration(
  text: string | Uint8Array,
  files: NamedFiles | ReadFile = new Map(),
): Promise<Configuration> {
  const members = readMembers(typeof text === 'string' ? utf8(text) : text);
  const settings = checkMembers(members);
  const requirements = await readRequirements(members);
  const read = typeof files === 'function' ? files : readerOf(files);
  const keys: TrustedKey[] = [];
  for (const path of settings.trustedKeys ?? []) keys.push(await loadKey(path, read));
  const roots: TrustedRoot[] = [];
  for (const path of listOf(settings.trustedRoot)) roots.push(await loadRoot(path, read));
  const policies: Policy[] = [];
  for (const path of listOf(settings.trustPolicy)) policies.push(await loadPolicy(path, read));
  const streamKey = settings.streamKey === undefined ? undefined : await loadStreamKey(settings.streamKey, read);
  const { sigstore, identities = [] } = settings;
  const usesRoots = sigstore !== undefined || identities.length > 0 || keys.length > 0;
  if (roots.length === 0 && usesRoots) roots.push(await parseTrustedRoot(utf8(PUBLIC_GOOD_ROOT)));
  const selected = sigstore === undefined ? roots : selectLogs(roots, sigstore.rekorUrl);
  const names = identities.map(({ issuer, subject }) => ({ issuer: issuer ?? '', name: subject ?? '' }));
  return new Configuration({
    policies,
    streamKey,
    keys,
    identities: names.length === 0 ? undefined : Trust.of(selected, names, []),
    roots: selected,
    requirements,
  });
}

function readerOf(files: NamedFiles): ReadFile {
  return async (path) => {
    const file = files.get(path);
    if (file === undefined) throw new Error('no such file was supplied');
    return file instanceof Uint8Array ? file : new Uint8Array(await file.arrayBuffer());
  };
}

/** Performs check 2. */
function readMembers(bytes: Uint8Array): Map<string, Json> {
  const malformed = (problem: string) => new ConfigurationError('configuration-malformed', `configuration: ${problem}`);
  if (bytes.length > MAX_CONFIGURATION_BYTES) throw malformed(`exceeds ${MAX_CONFIGURATION_BYTES} bytes`);
  try {
    return parseObject(bytes);
  } catch (error) {
    if (error instanceof FormatError) throw malformed(error.message);
    throw error;
  }
}

const maxText = 2048;
const text = pipe(string(), maxBytes(maxText));
const path = pipe(
  string(),
  minBytes(1),
  maxBytes(4096),
  check((value) => !value.includes('\0')),
);
const paths = (most: number) => pipe(array(path), minLength(1), maxLength(most));

/** The members except the requirements. Members are known by then. */
const schema = object({
  sigstore: optional(
    object({
      rekorUrl: pipe(
        text,
        check((value) => normalUrl(value) !== undefined),
      ),
    }),
  ),
  trustedKeys: optional(paths(64)),
  identities: optional(
    pipe(
      array(
        pipe(
          custom<object>((value) => !Array.isArray(value)), // an object for schemas
          object({ issuer: optional(text), subject: optional(text) }),
        ),
      ),
      minLength(1),
      maxLength(64),
    ),
  ),
  trustedRoot: optional(union([path, paths(16)])),
  trustPolicy: optional(union([path, paths(16)])),
  streamKey: optional(path),
});

type Settings = InferOutput<typeof schema>;

const requirements = ['licenses', 'residency', 'epsilon'];

/** Performs checks 3 to 5. */
function checkMembers(members: Map<string, Json>): Settings {
  checkNames(members, 'configuration', [...Object.keys(schema.entries), ...requirements]);
  checkNames(members.get('sigstore'), 'sigstore', ['rekorUrl']);
  const identities = members.get('identities');
  if (Array.isArray(identities))
    for (const [i, identity] of identities.entries()) checkNames(identity, `identities[${i}]`, ['issuer', 'subject']);
  const known = Object.keys(schema.entries).filter((name) => members.has(name));
  const result = safeParse(schema, plain(new Map(known.map((name) => [name, members.get(name) ?? null]))));
  if (!result.success) throw new ConfigurationError('configuration-invalid', problemOf(result.issues[0]));
  for (const [i, { issuer = '', subject = '' }] of (result.output.identities ?? []).entries())
    if (issuer === '' || subject === '')
      throw new ConfigurationError(
        'identity-missing',
        `identities[${i}]: no ${issuer === '' ? 'issuer' : 'subject'}: anybody's signature would be accepted`,
      );
  return result.output;
}

function checkNames(value: Json | undefined, where: string, names: readonly string[]): void {
  if (!(value instanceof Map)) return;
  for (const name of value.keys())
    if (!names.includes(name))
      throw new ConfigurationError('configuration-unknown', `${where}: unknown member ${quote(name)}`);
}

function problemOf({ path: keys = [] }: { path?: readonly { key: unknown }[] | undefined }): string {
  const where = keys.map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('');
  return `configuration: ${where.replace(/^\./, '')}: has the wrong type, or is out of its limits`;
}

/** Returns a value without maps, for schemas. Its objects have no prototype. */
function plain(value: Json): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (!(value instanceof Map)) return value;
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [name, member] of value) copy[name] = plain(member);
  return copy;
}

/** Performs check 6. */
async function readRequirements(members: Map<string, Json>): Promise<Requirements | undefined> {
  const given = new Map([...members].filter(([name]) => requirements.includes(name)));
  if (given.size === 0) return undefined;
  try {
    return await parseRequirements(JSON.stringify(plain(given)));
  } catch (error) {
    if (!(error instanceof ExportError)) throw error;
    throw new ConfigurationError('requirement-malformed', error.message, { cause: error });
  }
}

function listOf(given: string | string[] | undefined): string[] {
  return typeof given === 'string' ? [given] : (given ?? []);
}

/** Performs check 7.1. Returns undefined if the file exceeds its limit. */
async function open(name: string, read: ReadFile, limit: number): Promise<Uint8Array | undefined> {
  try {
    const bytes = await read(name, limit);
    return bytes.length > limit ? undefined : bytes;
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'read failed';
    throw new ConfigurationError('configuration-unreadable', `${name}: ${reason}`, { cause: error });
  }
}

/** Loads a file, and performs check 7.2. Messages never quote the file. */
async function load<T>(
  name: string,
  read: ReadFile,
  limit: number,
  code: ConfigurationCode,
  parse: (bytes: Uint8Array) => Promise<T> | T,
): Promise<T> {
  const bytes = await open(name, read, limit);
  if (bytes === undefined) throw new ConfigurationError(code, `${name}: exceeds ${limit} bytes`);
  try {
    return await parse(bytes);
  } catch (error) {
    if (!(error instanceof MunimentError)) throw error;
    const message = error instanceof FormatError ? `${name}: ${error.message}` : error.message;
    throw new ConfigurationError(code, message, { cause: error });
  }
}

async function loadKey(name: string, read: ReadFile): Promise<TrustedKey> {
  return await load(name, read, MAX_KEY_BYTES, 'key-malformed', async (bytes) => {
    const key = await readKey(bytes);
    const pem = `-----BEGIN PUBLIC KEY-----\n${base64(key.spki)}\n-----END PUBLIC KEY-----\n`;
    return { id: `sha256:${hex(sha256(key.spki))}`, sigstore: key, plain: await PublicKey.parse(pem) };
  });
}

async function loadRoot(name: string, read: ReadFile): Promise<TrustedRoot> {
  return await load(name, read, MAX_ROOT_BYTES, 'trusted-root-malformed', parseTrustedRoot);
}

async function loadPolicy(name: string, read: ReadFile): Promise<Policy> {
  return await load(name, read, MAX_POLICY_BYTES, 'policy-malformed', (bytes) => parsePolicy(name, bytes));
}

async function loadStreamKey(name: string, read: ReadFile): Promise<Uint8Array> {
  return await load(name, read, MAX_STREAM_KEY_BYTES, 'stream-key-malformed', parseStreamKey);
}

/** Performs check 8. Keeps only the logs with the URL, and the roots that have one. */
function selectLogs(roots: TrustedRoot[], rekorUrl: string): TrustedRoot[] {
  const wanted = normalUrl(rekorUrl);
  const selected = roots
    .map((root) => ({
      ...root,
      logs: new Map([...root.logs].filter(([, { baseUrl }]) => normalUrl(baseUrl) === wanted)),
    }))
    .filter(({ logs }) => logs.size > 0);
  if (selected.length > 0) return selected;
  const known = roots.flatMap(({ logs }) => [...logs.values()].map(({ baseUrl }) => baseUrl));
  throw new ConfigurationError(
    'rekor-unknown',
    `sigstore.rekorUrl: no trusted root has the log ${quote(rekorUrl)}: they have ${known.map(quote).join(', ')}`,
  );
}
