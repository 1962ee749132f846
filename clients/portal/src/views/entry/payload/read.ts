/**
 * Chooses how a payload is read. Only the header decides, which the receipt
 * proves: a payload cannot choose its own viewer.
 */

import { cose } from './cose';
import { Builder, type Content } from './document';
import { JsonReader, MalformedError } from './json';
import {
  anyObject,
  backfillCheckpoint,
  exportManifest,
  provenance02,
  provenance1,
  simpleResult,
  summary,
  testResult,
} from './predicates';
import { cycloneDX, spdx2, spdx3 } from './sbom';
import { cosignVuln, openVEX, report, sarif, vulns } from './scan';
import { bundle, envelope, statement } from './statement';

/** The facts that choose, from a verified header. */
export interface About {
  kind: string;
  mediaType: string;
  predicateType?: string;
  /** The payload refers to evidence that is kept elsewhere. */
  isReference?: boolean;
}

type Read = (json: JsonReader, to: Builder) => void;

/** Documents by predicate type or media type. The first that matches is used. */
const documents: readonly (readonly [RegExp, Read])[] = [
  [/^https:\/\/cosign\.sigstore\.dev\/attestation\/vuln\/v1$/, cosignVuln],
  [/^https:\/\/in-toto\.io\/attestation\/vulns\/v0\.[12]$/, vulns],
  [/^https:\/\/openvex\.dev\/ns(\/v\d+\.\d+.*)?$/, openVEX],
  [/^https:\/\/spdx\.dev\/Document(\/v2(\.\d+)?)?$/, spdx2],
  [/^https:\/\/spdx\.dev\/Document\/v3(\.\d+)*$/, spdx3],
  [/^https:\/\/cyclonedx\.org\/bom(\/v?\d+(\.\d+)?)?$/, cycloneDX],
  [/^https:\/\/slsa\.dev\/provenance\/v1$/, provenance1],
  [/^https:\/\/slsa\.dev\/provenance\/v0\.[12]$/, provenance02],
  [/^https:\/\/in-toto\.io\/attestation\/test-result\/v0\.1$/, testResult],
  [/^https:\/\/slsa\.dev\/verification_summary\/(v1|v0\.2)$/, summary],
  [/^https:\/\/in-toto\.io\/attestation\/svr\/v0\.1$/, simpleResult],
  [/^https:\/\/muniment\.dev\/predicate\/backfill-checkpoint\/v1$/, backfillCheckpoint],
  [/^https:\/\/muniment\.dev\/predicate\/export-manifest\/v2$/, exportManifest],
  [/^application\/spdx\+json$/, spdx],
  [/^application\/vnd\.cyclonedx\+json$/, cycloneDX],
  [/^application\/(sarif\+json|vnd\.oasis\.sarif\+json)$/, sarif],
  [
    /^application\/(vnd\.aquasec\.trivy\.report\.v\d+\+json|vnd\.anchore\.grype\.json|vnd\.security\.vulnerability\.report.*)$/,
    report,
  ],
  [/^application\/vnd\.openvex\+json$/, openVEX],
];

/** Reads an SPDX document of either version: version 3 has a graph. */
function spdx(json: JsonReader, to: Builder): void {
  const names = new Set<string>();
  new JsonReader(json.bytes).object((name) => {
    if (name === '@graph') names.add(name);
  });
  (names.size > 0 ? spdx3 : spdx2)(json, to);
}

const readerOf = (type: string): Read | undefined => documents.find(([pattern]) => pattern.test(type))?.[1];

/** Payloads that are parsed have at most so many bytes. */
export const MAX_PARSED = 192 << 20;

const BUNDLE = 'application/vnd.dev.sigstore.bundle';

/** Reads a payload. Undefined: there is only the raw view of such payloads. */
export function read(bytes: Uint8Array, about: About): Content | undefined {
  const to = new Builder();
  const type = (about.mediaType.split(';')[0] ?? '').trim();
  try {
    if (about.isReference !== true && type.startsWith(BUNDLE)) {
      contained(bytes, about, to, bundle, 'Sigstore bundle');
    } else if (type === 'application/vnd.dsse.envelope.v1+json') {
      contained(bytes, about, to, envelope, 'DSSE envelope');
    } else if (type === 'application/vnd.in-toto+json') {
      statementOf(bytes, about, to);
    } else if (type === 'application/cose') {
      cose(bytes, to);
    } else if (isJson(type)) {
      const reader =
        about.kind === 'attestation' ? readerOf(type) : readerOf(`https://muniment.dev/predicate/${about.kind}/v1`);
      to.content.format = about.kind === 'attestation' ? type : about.kind;
      document(bytes, to, reader ?? anyObject);
    } else {
      return undefined;
    }
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    const broken = new Builder();
    broken.content.format = to.content.format === '' ? type : to.content.format;
    broken.remark(`The payload is not a document of its type: ${error.message}. It is shown raw.`);
    return broken.content;
  }
  to.content.tables = to.content.tables.filter(({ rows, more }) => rows.length > 0 || more > 0);
  return to.content;
}

const isJson = (type: string) => type === 'application/json' || type.endsWith('+json');

function document(bytes: Uint8Array, to: Builder, reader: Read): void {
  const json = new JsonReader(bytes);
  reader(json, to);
  json.end();
  for (const name of json.repeated)
    to.remark(`The member ${JSON.stringify(name)} occurs twice in one object. Programs can disagree about its value.`);
}

/** Reads an envelope or a bundle, and the statement in it. */
function contained(bytes: Uint8Array, about: About, to: Builder, reader: typeof envelope, name: string): void {
  const json = new JsonReader(bytes);
  const { payloadType, payload } = reader(json, to);
  json.end();
  to.content.format = name;
  if (payload === undefined) return;
  if (about.predicateType === undefined && payloadType !== 'application/vnd.in-toto+json') {
    if (about.kind === 'attestation') {
      to.claim('Payload', `${payload.length} bytes`);
      return;
    }
    document(payload, to, readerOf(`https://muniment.dev/predicate/${about.kind}/v1`) ?? anyObject);
    return;
  }
  statementOf(payload, about, to);
}

function statementOf(bytes: Uint8Array, about: About, to: Builder): void {
  const json = new JsonReader(bytes);
  const { predicateType, predicate } = statement(json, to);
  json.end();
  to.content.format = join(to.content.format, 'in-toto statement');
  if (predicateType !== about.predicateType)
    to.remark('The predicate type in the payload is not the one in the header. The header decides how it is shown.');
  const type = about.predicateType;
  if (type === undefined) return;
  const outer = to.content.format;
  to.claim('Predicate type', type, 'mono');
  if (predicate !== undefined) {
    to.content.format = '';
    document(predicate, to, readerOf(type) ?? anyObject);
    to.content.format = join(to.content.format, outer);
  }
}

const join = (...parts: string[]): string => parts.filter((part) => part !== '').join(', ');
