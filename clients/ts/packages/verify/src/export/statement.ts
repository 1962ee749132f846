/**
 * The statement of an export manifest (export-manifest.md, sections 1 to 5, and
 * section 7, step 3).
 */

import { utf8 } from '../bytes.js';
import { FormatError } from '../errors.js';
import type { Signer } from '../header.js';
import { Members, parseObject, quote, type Json } from '../json.js';
import type { Mechanism } from './epsilon.js';
import { Failure } from './errors.js';
import type { Geography } from './lookup.js';
import { EXPORT_PREDICATE_TYPE } from '../spends.js';
import { isDelta, parseDecimal, parseRational, type Decimal } from '../decimal.js';

const statementType = 'https://in-toto.io/Statement/v1';

/** A file of an export. */
export interface ExportFile {
  name: string;
  /** In hexadecimal. */
  sha256: string;
  /** In bytes. */
  size: number;
  mediaType: string;
  /** A claim. */
  rows?: number;
  license: string[];
  fieldSets: { fields: string[]; license: string[] }[];
}

/** Where data is allowed to be. An empty list sets no limit. */
export interface Use {
  /** Where data may be stored. */
  storage: Limit;
  /** Where data may be processed. */
  processing: Limit;
}

/** The places that are allowed and forbidden for an activity. */
export interface Limit {
  /** Only there. Empty: anywhere that is not forbidden. */
  allowed: Geography[];
  /** Nowhere there. */
  forbidden: Geography[];
}

/** A place, or a region of a cloud. */
export interface Location extends Geography {
  cloudRegion?: string;
}

/** Asserts where the data was stored or processed. */
export interface Claim {
  activity: 'storage' | 'processing';
  locations: Location[];
  claimedBy: Signer;
  /** Entries of the tenant's stream. */
  evidence: { index: number; leafHash: string }[];
}

/** The privacy loss of an export, and the budget it is charged to. */
export interface Privacy {
  flavor: string;
  unit: string;
  relation: string;
  epsilon: Decimal;
  delta?: Decimal;
  rho?: Decimal;
  mechanisms: Mechanism[];
  sensitivityBy: Signer;
  sampler: string;
  samplerBy: Signer;
  budget: string;
  budgetEpsilon: Decimal;
  budgetDelta?: Decimal;
  spentEpsilon?: Decimal;
  spentRho?: Decimal;
}

/** The content of an export manifest. */
export interface ExportManifest {
  tenant: string;
  exportId: string;
  created: string;
  files: ExportFile[];
  /** Absent: the manifest does not limit the places. */
  use?: Use;
  claims: Claim[];
  spdxListVersion: string;
  /** Absent: not differentially private. */
  privacy?: Privacy;
}

/** Performs step 3. */
export function parseStatement(payload: Uint8Array): ExportManifest {
  const reader = new StatementReader();
  try {
    reader.read(parseObject(payload));
  } catch (error) {
    if (error instanceof FormatError) throw new Failure('statement-malformed', `statement: ${error.message}`);
    throw error;
  }
  return reader.checked();
}

/** An array of limited length. Throws FormatError. */
function list<T>(members: Members, member: string, most: number, read: (value: Json, path: string) => T): T[] {
  const elements = members.array(member, read);
  if (elements.length > most) throw new FormatError(`${member}: more than ${most} elements`);
  return elements;
}

function texts(members: Members, member: string, most: number, size: number): string[] {
  return list(members, member, most, (value, path) => {
    if (typeof value !== 'string') throw new FormatError(`${path}: must be a string`);
    return sized(value, path, size);
  });
}

function sized(text: string, path: string, most: number): string {
  if (text === '' || utf8(text).length > most) throw new FormatError(`${path}: must have 1 to ${most} bytes`);
  return text;
}

function text(members: Members, member: string, most: number): string {
  return sized(members.text(member), member, most);
}

/** Reads an object of which all members are read. */
function closed<T>(members: Members, read: (members: Members) => T): T {
  const value = read(members);
  members.end();
  return value;
}

function element<T>(read: (members: Members) => T): (value: Json, path: string) => T {
  return (value, path) => closed(Members.of(value, path), read);
}

const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/;

/** Reports whether a text is a name (section 2). */
export function isName(text: string): boolean {
  return NAME.test(text);
}

const hexDigest = (members: Members, member: string): string =>
  members.pattern(member, /^[0-9a-f]{64}$/, '64 lowercase hexadecimal digits');

const digest = (members: Members): string => closed(members.object('digest'), (inner) => hexDigest(inner, 'sha256'));

const licenses = (members: Members): string[] => texts(members, 'license', 16, 1024);

function geography(members: Members): Geography {
  const country = text(members, 'country', 64);
  const state = members.optional('state', (member) => text(members, member, 64));
  return { country, ...(state !== undefined && { state }) };
}

/** Reads limits on places. Throws FormatError. */
export function readUse(members: Members): Use {
  const names = ['storage-allowed', 'storage-forbidden', 'processing-included', 'processing-excluded'];
  if (!names.some((name) => members.has(name))) throw new FormatError('no member limits the places');
  const geographies = (member: string): Geography[] =>
    members.optional(member, () => list(members, member, 512, element(geography))) ?? [];
  const use = {
    storage: { allowed: geographies('storage-allowed'), forbidden: geographies('storage-forbidden') },
    processing: { allowed: geographies('processing-included'), forbidden: geographies('processing-excluded') },
  };
  members.end();
  return use;
}

function signer(members: Members): Signer {
  return closed(members.object('claimedBy'), (inner) =>
    inner.has('keyId')
      ? { keyId: inner.pattern('keyId', /^sha256:[0-9a-f]{64}$/, 'sha256: and 64 lowercase hexadecimal digits') }
      : { identity: text(inner, 'identity', 2048), issuer: text(inner, 'issuer', 2048) },
  );
}

function time(members: Members): string {
  const created = members.text('created');
  const date = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/.test(created) ? new Date(created) : undefined;
  // A date that is not in the calendar becomes another one.
  const valid = date !== undefined && !Number.isNaN(date.getTime()) && date.getTime() >= 0;
  if (!valid || date.toISOString() !== created.replace('Z', '.000Z'))
    throw new FormatError('created: not a time since 1970');
  return created;
}

const mediaType = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$/;

function file(members: Members): ExportFile {
  const name = members.text('name');
  const sha256 = digest(members);
  const rows = members.optional('rows', members.integer);
  return {
    name,
    sha256,
    size: members.integer('size'),
    mediaType: members.pattern('mediaType', mediaType, 'a media type'),
    ...(rows !== undefined && { rows }),
    license: licenses(members),
    fieldSets:
      members.optional('fieldSets', (member) =>
        list(
          members,
          member,
          64,
          element((set) => ({ fields: texts(set, 'fields', 1024, 256), license: licenses(set) })),
        ),
      ) ?? [],
  };
}

function claim(members: Members): Claim {
  return {
    activity: members.choice('activity', ['storage', 'processing']),
    locations: list(members, 'locations', 64, element(location)),
    claimedBy: signer(members),
    evidence: members.optional('evidence', (member) => list(members, member, 64, element(evidence))) ?? [],
  };
}

function location(members: Members): Location {
  const place = geography(members);
  const cloudRegion = members.optional('cloudRegion', (member) => text(members, member, 64));
  return { ...place, ...(cloudRegion !== undefined && { cloudRegion }) };
}

function evidence(members: Members): { index: number; leafHash: string } {
  return { index: members.integer('index'), leafHash: hexDigest(members, 'leafHash') };
}

/**
 * Reads a statement. Numbers are judged after the rest, because they have a
 * code of their own.
 */
class StatementReader {
  private manifest: ExportManifest | undefined;
  private subjects: { name: string; sha256: string }[] = [];
  private numberFault: string | undefined;

  /** Performs steps 3.2 to 3.4. */
  read(document: Map<string, Json>): void {
    for (const [member, expected, code] of [
      ['_type', statementType, 'statement-version'],
      ['predicateType', EXPORT_PREDICATE_TYPE, 'predicate-type'],
    ] as const) {
      const value = document.get(member);
      if (typeof value === 'string' && value !== expected)
        throw new Failure(code, `${member}: ${quote(value)}, expected ${expected}`);
    }
    const members = Members.of(document, '');
    members.text('_type');
    members.text('predicateType');
    this.subjects = list(
      members,
      'subject',
      1024,
      element((one) => ({ name: one.text('name'), sha256: digest(one) })),
    );
    this.manifest = closed(members.object('predicate'), (predicate) => this.predicate(predicate));
    members.end();
  }

  private predicate(members: Members): ExportManifest {
    const use = members.optional('use', (member) => readUse(members.object(member)));
    const privacy = members.optional('privacy', (member) =>
      closed(members.object(member), (inner) => this.privacy(inner)),
    );
    return {
      tenant: members.pattern('tenant', /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a tenant name'),
      exportId: members.pattern('exportId', NAME, 'a name'),
      created: time(members),
      files: list(members, 'files', 1024, element(file)),
      ...(use && { use }),
      claims: closed(members.object('residency'), (inner) => list(inner, 'claims', 64, element(claim))),
      spdxListVersion: closed(members.object('licenses'), (inner) => text(inner, 'spdxListVersion', 32)),
      ...(privacy && { privacy }),
    };
  }

  private privacy(members: Members): Privacy {
    const flavor = closed(members.object('dp_flavor'), (inner) => text(inner, 'name', 64));
    const privacyLoss = closed(members.object('privacy_loss'), (inner) => this.privacyLoss(inner));
    const mechanisms = list(
      members,
      'mechanisms',
      256,
      element((one) => this.mechanism(one)),
    );
    const sensitivityBy = closed(members.object('sensitivity'), signer);
    const sampler = closed(members.object('sampler'), (inner) => ({
      sampler: text(inner, 'name', 256),
      samplerBy: signer(inner),
    }));
    const budget = closed(members.object('budget'), (inner) => this.budget(inner));
    return { flavor, ...privacyLoss, mechanisms, sensitivityBy, ...sampler, ...budget };
  }

  private privacyLoss(members: Members): Pick<Privacy, 'unit' | 'relation' | 'epsilon' | 'delta' | 'rho'> {
    members.optional('privacy_unit_description', (member) => text(members, member, 4096));
    return {
      unit: text(members, 'privacy_unit', 256),
      relation: members.choice('neighboring_relation', ['unbounded', 'bounded']),
      ...closed(members.object('privacy_parameters'), (inner) => {
        const delta = this.optionalDecimal(inner, 'delta');
        const rho = this.optionalDecimal(inner, 'rho');
        return { epsilon: this.decimal(inner, 'epsilon'), ...(delta && { delta }), ...(rho && { rho }) };
      }),
    };
  }

  private mechanism(members: Members): Mechanism {
    const name = members.choice('name', ['Gaussian', 'Laplace']);
    const count = members.integer('count');
    if (count < 1 || count > 1_000_000) throw new FormatError('count: must be between 1 and 1,000,000');
    const rational = (member: string) =>
      this.number(member, members.text(member), parseRational) ?? { num: 1n, den: 1n };
    return { name, sensitivity: rational('sensitivity'), scale: rational('scale'), count };
  }

  private budget(
    members: Members,
  ): Pick<Privacy, 'budget' | 'budgetEpsilon' | 'budgetDelta' | 'spentEpsilon' | 'spentRho'> {
    const budgetDelta = this.optionalDecimal(members, 'delta');
    const spent = closed(members.object('spent'), (inner) => {
      const spentEpsilon = this.optionalDecimal(inner, 'epsilon');
      const spentRho = this.optionalDecimal(inner, 'rho');
      return { ...(spentEpsilon && { spentEpsilon }), ...(spentRho && { spentRho }) };
    });
    return {
      budget: members.pattern('name', NAME, 'a name'),
      budgetEpsilon: this.decimal(members, 'epsilon'),
      ...(budgetDelta && { budgetDelta }),
      ...spent,
    };
  }

  private decimal(members: Members, member: string): Decimal {
    return this.number(member, members.text(member), parseDecimal) ?? { text: '', units: 0n };
  }

  private optionalDecimal(members: Members, member: string): Decimal | undefined {
    return members.optional(member, () => this.decimal(members, member));
  }

  /** Parses a number, and notes whether it is malformed. */
  private number<T>(member: string, literal: string, parse: (text: string) => T | undefined): T | undefined {
    const value = parse(literal);
    if (value === undefined) this.numberFault ??= `${member}: ${quote(literal)} is not a number of the required form`;
    return value;
  }

  /** Performs steps 3.5 to 3.9, and returns the manifest. */
  checked(): ExportManifest {
    const { manifest, subjects } = this;
    if (this.numberFault !== undefined) throw new Failure('number-malformed', this.numberFault);
    if (manifest === undefined) throw new Failure('statement-malformed', 'statement: nothing was read');
    checkRanges(manifest);
    checkNames(manifest.files);
    const same = (one: { name: string; sha256: string }, i: number) =>
      one.name === manifest.files[i]?.name && one.sha256 === manifest.files[i].sha256;
    if (subjects.length !== manifest.files.length || !subjects.every(same))
      throw new Failure('subjects-differ', "the statement's subjects are not the predicate's files");
    return manifest;
  }
}

/** Performs step 3.6. */
function checkRanges({ privacy }: ExportManifest): void {
  if (privacy === undefined) return;
  if (privacy.mechanisms.some(({ sensitivity, scale }) => sensitivity.num === 0n || scale.num === 0n))
    throw new Failure('number-range', 'sensitivity and scale of a mechanism must be greater than 0');
  for (const delta of [privacy.delta, privacy.budgetDelta])
    if (delta !== undefined && !isDelta(delta))
      throw new Failure('number-range', `delta: ${delta.text} is not between 0 and 1`);
}

/** Performs steps 3.7 and 3.8. */
function checkNames(files: readonly ExportFile[]): void {
  for (const { name } of files)
    if (!isFileName(name))
      throw new Failure('name-unsafe', `file ${quote(name)}: not the name of a file on all systems`);
  const seen = new Set<string>();
  for (const { name } of files) {
    const folded = name.toLowerCase(); // ASCII, after step 3.7
    if (seen.has(folded))
      throw new Failure('name-duplicate', `file ${quote(name)}: another file has the same name, except for case`);
    seen.add(folded);
  }
}

function isFileName(name: string): boolean {
  const segment = /^(?! )[^/\\:*?"<>|]+(?<![ .])$/;
  // The names of devices of Windows, with any extension.
  const device = /^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9]|LPT[0-9]) *(\.|$)/i;
  const isSegment = (part: string) => segment.test(part) && !device.test(part);
  return name.length <= 1024 && /^[\x20-\x7e]+$/.test(name) && name.split('/').every(isSegment);
}
