/** The header of an entry (entry.md, section 4). */

import { base64 } from './bytes.js';
import { FormatError } from './errors.js';
import { Members, parseObject, type Json } from './json.js';

/** An artifact, as in an in-toto ResourceDescriptor. */
export interface Artifact {
  /** The name of the artifact, such as a file name or an image reference. */
  name?: string;
  /** Maps algorithms to values. Has at least one member, and no prototype. */
  digest: Record<string, string>;
}

/** A signer of the evidence. At least one member is present. */
export interface Signer {
  /** The certificate's subject alternative name. */
  identity?: string;
  /** The certificate's OIDC issuer. */
  issuer?: string;
  /** The ID of the public key, if the evidence was signed with one. */
  keyId?: string;
}

/** A reference to evidence that is kept elsewhere. */
export interface External {
  /** Maps algorithms to values. Has at least one member, and no prototype. */
  digest: Record<string, string>;
  /** Size of the evidence, in bytes. */
  size: number;
  /**
   * Where the evidence is kept, such as a URL. A hint, which nothing checks.
   */
  location?: string;
  /** The media type of the evidence. */
  mediaType?: string;
}

/**
 * A parsed header, with the members of the JSON document. A receipt proves that
 * the log recorded the header. Its content is the log's claim, except
 * `payload`.
 */
export interface Header {
  /** The name of the log. */
  origin: string;
  /** The name of the tenant: 1 to 63 lowercase letters, digits and hyphens. */
  tenant: string;
  /** The kind of the entry, one of {@link KindName} in this version. */
  kind: string;
  /** The media type of the payload. */
  mediaType: string;
  /** The artifacts that the entry is about. */
  subjects?: Artifact[];
  /** The in-toto predicate type of the payload, a URI. */
  predicateType?: string;
  /**
   * Only the evidence's own claim, unless `verification.result` is `verified`.
   */
  signers?: Signer[];
  /** The artifacts from which the subjects were made. */
  materials?: Artifact[];
  /** The controls that the entry is about. */
  controls?: string[];
  /** Further facts, by name. Which ones depends on the kind. */
  attributes?: Record<string, string>;
  /** The evidence to which an entry by reference refers. */
  external?: External;
  /** The identity that appended the entry. */
  submitter: string;
  /** The idempotency key of the request. */
  idempotencyKey?: string;
  /** `sha256:` and 64 hexadecimal digits. */
  admissionPolicy?: string;
  /** How the admission policy decided. */
  admission?: {
    /** `recorded`: no rule admits the entry, but the policy records it. */
    result: 'admitted' | 'recorded';
    /** The name of the rule that decided. */
    rule?: string;
    /** A sentence for people. */
    reason?: string;
  };
  /**
   * The result of the verification of the signatures of the evidence by the
   * log.
   */
  verification: {
    /** `unverified`: the log did not check the signatures. */
    result: 'verified' | 'unverified' | 'failed';
    /** The format of the evidence, as the log recognized it. */
    format?: string;
    /** `sha256:` and 64 hexadecimal digits. */
    trustedRoot?: string;
    /** Why the signatures are not verified, for people. */
    reason?: string;
  };
  /** What the header states of the payload, which a receipt proves. */
  payload: {
    /** The commitment C, base64 of 32 bytes. */
    commitment: string;
    /** In bytes. */
    size: number;
  };
}

/** Size limit of headers, in bytes (entry.md, section 2). */
export const MAX_HEADER_BYTES = 1_048_576;

/** Parses a header. Throws FormatError with the code `header-malformed`. */
export function parseHeader(bytes: Uint8Array): Header {
  try {
    if (bytes.length > MAX_HEADER_BYTES) throw new FormatError(`exceeds ${MAX_HEADER_BYTES} bytes`);
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
    tenant: members.pattern('tenant', /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a tenant name'),
    kind: members.pattern('kind', /^[a-z][a-z0-9-]{0,62}$/, 'a kind'),
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
  if (Object.keys(read).length === 0) throw new FormatError(`${path}: must not be empty`);
  return read;
}

function control(value: Json, path: string): string {
  if (typeof value !== 'string' || value === '') throw new FormatError(`${path}: must be a non-empty string`);
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

/** T, with undefined in place of absent members. */
type Loose<T> = { [K in keyof T]-?: object extends Pick<T, K> ? T[K] | undefined : T[K] };

/** Removes undefined members. */
function compact<T extends object>(loose: Loose<T>): T {
  return Object.fromEntries(Object.entries(loose).filter(([, value]) => value !== undefined)) as T;
}

/**
 * Like {@link compact}, and throws FormatError if the object has unknown
 * members.
 */
function closed<T extends object>(members: Members, loose: Loose<T>): T {
  members.end();
  return compact(loose);
}
