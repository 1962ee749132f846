/** The manifest of an evidence bundle (bundle.md, section 3). */

import { canonical } from '../digest.js';
import { FormatError } from '../errors.js';
import { Members, parseLargeObject, quote, type Json } from '../json.js';
import { EvidenceError } from './errors.js';

/** The media type of manifests. */
export const EVIDENCE_MANIFEST_TYPE = 'application/vnd.muniment.evidence-bundle.v1+json';

/** Size limit of manifests, in bytes. */
export const MAX_MANIFEST_BYTES = 64 << 20;

const maxArtifacts = 10_000;
const maxMembers = 500_000;
/** Limit on the JSON values of a manifest, which has five for each member. */
const maxValues = 3 << 20;

/** The digests of an artifact or of one of its parts. */
export interface SelectedPart {
  name?: string;
  /** Maps algorithms to values. Has at least one member, and no prototype. */
  digest: Record<string, string>;
}

/** A selected artifact. */
export interface SelectedArtifact extends SelectedPart {
  type?: string;
  parts?: SelectedPart[];
}

/** What the creator of a bundle was asked for. */
export interface Selection {
  release?: string;
  /** Digests. */
  subjects?: string[];
  /** Unix milliseconds. */
  since?: number;
  /** The release that the reports compare with. */
  previous?: string;
  /** An incident of triage. Without all of the others. */
  incident?: string;
}

/** A member of the archive, as the manifest lists it. */
export interface EvidenceMember {
  name: string;
  role: string;
  /** In bytes. */
  size: number;
  /** In hexadecimal. */
  sha256: string;
}

/** The manifest of a bundle. */
export interface EvidenceManifest {
  /** The name of the log. */
  origin: string;
  tenant: string;
  /** The number of entries in the tree: N. */
  size: number;
  /** 32 bytes. */
  root: Uint8Array;
  /** T, in Unix milliseconds. */
  time: number;
  /** The stream's ID, the number of its entries, and the last leaf hash. */
  stream: { id: Uint8Array; entries: number; last: Uint8Array };
  selection: Selection;
  artifacts: SelectedArtifact[];
  /** Unix milliseconds. */
  since?: number;
  members: EvidenceMember[];
}

/** Performs step 2.2. */
export function parseManifest(bytes: Uint8Array): EvidenceManifest {
  if (bytes.length > MAX_MANIFEST_BYTES) throw malformed(`exceeds ${MAX_MANIFEST_BYTES} bytes`);
  try {
    const document = parseLargeObject(bytes, maxValues);
    const mediaType = document.get('mediaType');
    if (typeof mediaType === 'string' && mediaType !== EVIDENCE_MANIFEST_TYPE)
      throw new EvidenceError('manifest-version', `the mediaType ${quote(mediaType)} is not ${EVIDENCE_MANIFEST_TYPE}`);
    return read(Members.of(document, ''));
  } catch (error) {
    if (error instanceof FormatError) throw malformed(error.message);
    throw error;
  }
}

function malformed(problem: string): EvidenceError {
  return new EvidenceError('manifest-malformed', `manifest.json: ${problem}`);
}

function read(members: Members): EvidenceManifest {
  members.text('mediaType');
  const since = members.optional('since', members.integer);
  const manifest: EvidenceManifest = {
    origin: members.text('origin'),
    tenant: members.text('tenant'),
    size: members.integer('size'),
    root: members.hash('root'),
    time: members.integer('time'),
    stream: stream(members.object('stream')),
    selection: selection(members.object('selection'), since),
    artifacts: members.optional('artifacts', (name) => limited(members.array(name, artifact), maxArtifacts)) ?? [],
    ...(since !== undefined && { since }),
    members: limited(members.array('members', member), maxMembers),
  };
  members.end();
  const { size, stream: state } = manifest;
  if (manifest.selection.incident !== undefined && (manifest.artifacts.length > 0 || since !== undefined))
    throw new FormatError('selection.incident: excludes artifacts and since');
  if (size === 0) throw new FormatError('size: must be at least 1');
  if (state.entries > size) throw new FormatError('stream.entries: more than the tree has');
  if ((state.entries === 0) !== state.last.every((byte) => byte === 0))
    throw new FormatError('stream.last: must be zero without entries, and only then');
  return manifest;
}

function limited<T>(list: T[], most: number): T[] {
  if (list.length > most) throw new FormatError(`more than ${most} elements`);
  return list;
}

function stream(members: Members): EvidenceManifest['stream'] {
  const state = { id: members.hash('id'), entries: members.integer('entries'), last: members.hash('last') };
  members.end();
  return state;
}

function text(value: Json, path: string): string {
  if (typeof value !== 'string' || value === '') throw new FormatError(`${path}: must be a string that is not empty`);
  return value;
}

function selection(members: Members, since: number | undefined): Selection {
  const release = members.optional('release', members.string);
  const subjects = members.optional('subjects', (name) => members.array(name, text));
  const from = members.optional('since', members.integer);
  const previous = members.optional('previous', members.string);
  const incident = members.optional('incident', members.string);
  members.end();
  const selected = release !== undefined || subjects !== undefined || from !== undefined;
  if (!selected && incident === undefined) throw new FormatError('selection: nothing is selected');
  if (incident !== undefined && (selected || previous !== undefined))
    throw new FormatError('selection.incident: excludes the other members');
  if (from !== undefined && from !== since) throw new FormatError('selection.since: differs from since');
  return {
    ...(release !== undefined && { release }),
    ...(subjects !== undefined && { subjects }),
    ...(from !== undefined && { since: from }),
    ...(previous !== undefined && { previous }),
    ...(incident !== undefined && { incident }),
  };
}

function artifact(value: Json, path: string): SelectedArtifact {
  const members = Members.of(value, path);
  const name = members.optional('name', members.string);
  const type = members.optional('type', members.string);
  const digest = members.strings('digest');
  const parts = members.optional('parts', (member) => members.array(member, part));
  members.end();
  return {
    ...(name !== undefined && { name }),
    ...(type !== undefined && { type }),
    digest,
    ...(parts !== undefined && { parts }),
  };
}

function part(value: Json, path: string): SelectedPart {
  const members = Members.of(value, path);
  const name = members.optional('name', members.string);
  const digest = members.strings('digest');
  members.end();
  return { ...(name !== undefined && { name }), digest };
}

function member(value: Json, path: string): EvidenceMember {
  const members = Members.of(value, path);
  const read = {
    name: members.text('name'),
    role: members.text('role'),
    size: members.integer('size'),
    sha256: members.pattern('sha256', /^[0-9a-f]{64}$/, '64 lowercase hexadecimal digits'),
  };
  members.end();
  return read;
}

/**
 * The digests of the selected artifacts in a form to compare with, or undefined
 * if none are selected.
 */
export function selectedDigests({ artifacts }: EvidenceManifest): Set<string> | undefined {
  if (artifacts.length === 0) return undefined;
  const found = new Set<string>();
  for (const one of artifacts)
    for (const { digest } of [one, ...(one.parts ?? [])])
      for (const [algorithm, value] of Object.entries(digest)) found.add(canonical({ algorithm, value }));
  return found;
}
