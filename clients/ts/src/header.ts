/** The header of an entry (entry.md, section 4). */

import { base64 } from './bytes.js';
import { FormatError } from './errors.js';
import { Members, parseObject, type Json } from './json.js';

/** An artifact, as in an in-toto ResourceDescriptor. */
export interface Artifact {
  name?: string;
  /** Algorithm → value, at least one. No member is inherited. */
  digest: Record<string, string>;
}

/** Who signed the evidence. At least one member is there. */
export interface Signer {
  /** The certificate's subject alternative name. */
  identity?: string;
  /** The certificate's OIDC issuer. */
  issuer?: string;
  keyId?: string;
}

/** Evidence that is kept elsewhere; the payload is a reference to it. */
export interface External {
  digest: Record<string, string>;
  /** Length of the evidence in bytes. */
  size: number;
  location?: string;
  mediaType?: string;
}

/** As in the document, member by member. Everything in it but `payload` is the log's claim, and nothing that a receipt proves. */
export interface Header {
  origin: string;
  tenant: string;
  kind: string;
  mediaType: string;
  subjects?: Artifact[];
  predicateType?: string;
  /** With `verification.result` other than `verified`: the evidence's own claim. */
  signers?: Signer[];
  materials?: Artifact[];
  controls?: string[];
  attributes?: Record<string, string>;
  external?: External;
  submitter: string;
  idempotencyKey?: string;
  /** `sha256:` and 64 hexadecimal digits. */
  admissionPolicy?: string;
  admission?: { result: 'admitted' | 'recorded'; rule?: string; reason?: string };
  verification: {
    result: 'verified' | 'unverified' | 'failed';
    format?: string;
    /** `sha256:` and 64 hexadecimal digits. */
    trustedRoot?: string;
    reason?: string;
  };
  /** The payload's commitment C (base64 of 32 bytes), and its length in bytes. */
  payload: { commitment: string; size: number };
}

/** Largest header, in bytes (entry.md, section 2). */
export const MAX_HEADER_BYTES = 1_048_576;

/** Parses a header. Throws FormatError with the code `header-malformed`. */
export function parseHeader(bytes: Uint8Array): Header {
  try {
    if (bytes.length > MAX_HEADER_BYTES) throw new FormatError(`more than ${MAX_HEADER_BYTES} bytes`);
    return parse(bytes);
  } catch (error) {
    if (error instanceof FormatError) throw new FormatError(`header: ${error.message}`, 'header-malformed');
    throw error;
  }
}

function parse(bytes: Uint8Array): Header {
  const members = Members.of(parseObject(bytes), '');
  const digestText = (of: Members) => (member: string) =>
    of.pattern(member, /^sha256:[0-9a-f]{64}$/, 'sha256: and 64 lowercase hexadecimal digits');
  const header = compact<Header>({
    origin: members.string('origin'),
    tenant: members.pattern('tenant', /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'the name of a tenant'),
    kind: members.pattern('kind', /^[a-z][a-z0-9-]{0,62}$/, 'the name of a kind'),
    mediaType: members.string('mediaType'),
    subjects: members.optional('subjects', (member) => members.array(member, artifact)),
    predicateType: members.optional('predicateType', members.string),
    signers: members.optional('signers', (member) => members.array(member, signer)),
    materials: members.optional('materials', (member) => members.array(member, artifact)),
    controls: members.optional('controls', (member) => members.array(member, control)),
    attributes: members.optional('attributes', members.strings),
    external: members.optional('external', (member) => external(members.object(member))),
    submitter: members.string('submitter'),
    idempotencyKey: members.optional('idempotencyKey', members.string),
    admissionPolicy: members.optional('admissionPolicy', digestText(members)),
    admission: members.optional('admission', (member) => admission(members.object(member))),
    verification: verification(members.object('verification'), digestText),
    payload: payload(members.object('payload')),
  });
  members.end();
  return header;
}

function artifact(value: Json, path: string): Artifact {
  const members = Members.of(value, path);
  return closed<Artifact>(members, {
    name: members.optional('name', members.string),
    digest: members.strings('digest'),
  });
}

function signer(value: Json, path: string): Signer {
  const members = Members.of(value, path);
  const read = closed<Signer>(members, {
    identity: members.optional('identity', members.string),
    issuer: members.optional('issuer', members.string),
    keyId: members.optional('keyId', members.string),
  });
  if (Object.keys(read).length === 0) throw new FormatError(`${path}: one of identity, issuer, keyId must be there`);
  return read;
}

function control(value: Json, path: string): string {
  if (typeof value !== 'string' || value === '') throw new FormatError(`${path}: a string that is not empty is needed`);
  return value;
}

function external(members: Members): External {
  return closed<External>(members, {
    digest: members.strings('digest'),
    size: members.integer('size'),
    location: members.optional('location', members.string),
    mediaType: members.optional('mediaType', members.string),
  });
}

function admission(members: Members): NonNullable<Header['admission']> {
  return closed<NonNullable<Header['admission']>>(members, {
    result: members.choice('result', ['admitted', 'recorded']),
    rule: members.optional('rule', members.string),
    reason: members.optional('reason', members.string),
  });
}

function verification(
  members: Members,
  digestText: (of: Members) => (member: string) => string,
): Header['verification'] {
  return closed<Header['verification']>(members, {
    result: members.choice('result', ['verified', 'unverified', 'failed']),
    format: members.optional('format', members.string),
    trustedRoot: members.optional('trustedRoot', digestText(members)),
    reason: members.optional('reason', members.string),
  });
}

function payload(members: Members): Header['payload'] {
  return closed(members, { commitment: base64(members.hash('commitment')), size: members.integer('size') });
}

/** An object whose absent members are undefined. */
type Loose<T> = { [K in keyof T]-?: object extends Pick<T, K> ? T[K] | undefined : T[K] };

/** Drops the members that are not there. */
function compact<T extends object>(loose: Loose<T>): T {
  return Object.fromEntries(Object.entries(loose).filter(([, value]) => value !== undefined)) as T;
}

/** Like {@link compact}, once it is certain that the format has all members that the document has. */
function closed<T extends object>(members: Members, loose: Loose<T>): T {
  members.end();
  return compact(loose);
}
