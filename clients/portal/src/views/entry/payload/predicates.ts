/** Predicates of provenance, tests, decisions, exports and checkpoints. */

import type { Builder } from './document';
import type { JsonReader } from './json';
import { digests, idOf, join, resource } from './parts';
import { texts } from './sbom';

/** Reads SLSA provenance, version 1. */
export function provenance1(json: JsonReader, to: Builder): void {
  const table = to.table('Materials', 'Name', { name: 'URI', style: 'mono' }, { name: 'Digests', style: 'digest' });
  to.content.format = 'SLSA provenance 1';
  json.members({
    buildDefinition: () =>
      json.members({
        buildType: () => to.claim('Build type', json.text(), 'mono'),
        externalParameters: () => {
          flatten(json, to, 'Parameter');
        },
        resolvedDependencies: () =>
          json.array(() => {
            const { name, uri, digest } = resource(json);
            to.row(table, name, uri, digest);
          }),
      }),
    runDetails: () =>
      json.members({
        builder: () => to.claim('Builder', idOf(json), 'mono'),
        metadata: () =>
          json.members({
            invocationId: () => to.claim('Invocation', json.text(), 'mono'),
            startedOn: () => to.claim('Started', json.text(), 'time'),
            finishedOn: () => to.claim('Finished', json.text(), 'time'),
          }),
      }),
  });
}

/** Reads SLSA provenance, versions 0.1 and 0.2. */
export function provenance02(json: JsonReader, to: Builder): void {
  const table = to.table('Materials', { name: 'URI', style: 'mono' }, { name: 'Digests', style: 'digest' });
  to.content.format = 'SLSA provenance 0.2';
  json.members({
    builder: () => to.claim('Builder', idOf(json), 'mono'),
    buildType: () => to.claim('Build type', json.text(), 'mono'),
    invocation: () => {
      flatten(json, to, 'Invocation');
    },
    metadata: () =>
      json.members({
        buildInvocationId: () => to.claim('Invocation', json.text(), 'mono'),
        buildStartedOn: () => to.claim('Started', json.text(), 'time'),
        buildFinishedOn: () => to.claim('Finished', json.text(), 'time'),
      }),
    materials: () =>
      json.array(() => {
        const { uri, digest } = resource(json);
        to.row(table, uri, digest);
      }),
  });
}

/** Reads a test result. */
export function testResult(json: JsonReader, to: Builder): void {
  const table = to.table('Tests', 'Name', { name: 'Result', style: 'result' });
  const tests = (result: string) => () =>
    json.array(() => {
      to.row(table, json.text(), result);
    });
  to.content.format = 'test result';
  json.members({
    result: () => to.claim('Result', json.text(), 'result'),
    url: () => to.claim('URL', json.text(), 'mono'),
    failedTests: tests('FAILED'),
    warnedTests: tests('WARNED'),
    passedTests: tests('PASSED'),
  });
  const order = ['FAILED', 'WARNED', 'PASSED'];
  table.rows.sort((a, b) => order.indexOf(a[1] ?? '') - order.indexOf(b[1] ?? ''));
}

/** Reads a verification summary (VSA), version 1 or 0.2. */
export function summary(json: JsonReader, to: Builder): void {
  const result = () => to.claim('Result', json.text(), 'result');
  const time = () => to.claim('Verified', json.text(), 'time');
  const about = () => to.claim('Resource', json.text(), 'mono');
  to.content.format = 'verification summary';
  json.members({
    verifier: () => to.claim('Verifier', idOf(json), 'mono'),
    verificationResult: result,
    verification_result: result,
    timeVerified: time,
    time_verified: time,
    resourceUri: about,
    resource_uri: about,
    policy: () => {
      const { uri, name, digest } = resource(json);
      to.claim('Policy', join(' ', name, uri), 'mono');
      to.claim('Policy’s digest', digest, 'digest');
    },
    verifiedLevels: () => to.claim('Levels', texts(json).join(', ')),
    policy_level: () => to.claim('Levels', json.text()),
    inputAttestations: () => {
      const table = to.table(
        'Input attestations',
        { name: 'URI', style: 'mono' },
        { name: 'Digests', style: 'digest' },
      );
      json.array(() => {
        const { uri, digest } = resource(json);
        to.row(table, uri, digest);
      });
    },
  });
}

/** Reads a simple verification result (SVR). */
export function simpleResult(json: JsonReader, to: Builder): void {
  const table = to.table('Verified properties', 'Property');
  to.content.format = 'simple verification result';
  json.members({
    verifier: () => to.claim('Verifier', idOf(json), 'mono'),
    timeCreated: () => to.claim('Created', json.text(), 'time'),
    properties: () =>
      json.array(() => {
        to.row(table, json.text());
      }),
  });
}

/** Reads the checkpoint of a backfill. */
export function backfillCheckpoint(json: JsonReader, to: Builder): void {
  to.content.format = 'backfill checkpoint';
  json.members({
    entity: () => to.claim('Entity', json.text()),
    checkpoint: () => {
      const text = json.text() ?? '';
      to.gauge('Progress', Number.parseFloat(text) / 100, text);
    },
    acaScore: () => {
      const score = json.number();
      if (score !== undefined) to.gauge('Canary analysis', score, String(score));
    },
    ts: () => to.claim('Time', json.text(), 'time'),
    rollbackReady: () => to.claim('Rollback ready', json.scalar() === 'true' ? 'yes' : 'no', 'result'),
  });
}

/** Reads an export manifest of version 2. */
export function exportManifest(json: JsonReader, to: Builder): void {
  const table = to.table('Files', 'Name', 'Size', 'Rows', 'Media type', 'Licence', {
    name: 'Digests',
    style: 'digest',
  });
  to.content.format = 'export manifest';
  json.object((member) => {
    if (member !== 'files') {
      flattenMember(json, to, member);
      return;
    }
    json.array(() => {
      let name: string | undefined;
      let size: string | undefined;
      let rows: string | undefined;
      let mediaType: string | undefined;
      let licence: string | undefined;
      let digest: string | undefined;
      json.members({
        name: () => (name = json.text()),
        size: () => (size = json.scalar()),
        rows: () => (rows = json.scalar()),
        mediaType: () => (mediaType = json.text()),
        license: () => (licence = texts(json).join(', ')),
        digest: () => (digest = digests(json)),
      });
      to.row(table, name, size, rows, mediaType, licence, digest);
    });
  });
}

/** Reads any object: values as claims, arrays of objects as tables. */
export function anyObject(json: JsonReader, to: Builder): void {
  if (json.peek() === 'object')
    json.object((member) => {
      flattenMember(json, to, member);
    });
  else flattenMember(json, to, '');
}

const maxLevels = 8;

/** Reads the values of an object or array as claims with paths as names. */
function flatten(json: JsonReader, to: Builder, path: string, level = 0): void {
  const type = json.peek();
  if (type !== 'object' && type !== 'array') to.claim(path, json.scalar());
  else if (level >= maxLevels) to.claim(path, shortened(json), 'mono');
  else if (type === 'object')
    json.object((member) => {
      flatten(json, to, join('.', path, member), level + 1);
    });
  else
    json.array((i) => {
      flatten(json, to, `${path}[${i}]`, level + 1);
    });
}

/** Reads a member of the outermost object. Lists become tables. */
function flattenMember(json: JsonReader, to: Builder, member: string): void {
  if (json.peek() === 'array') list(json, to, member);
  else flatten(json, to, member);
}

const maxColumns = 12;

/** Reads a list: of scalars into one column, of objects into columns by their members. */
function list(json: JsonReader, to: Builder, name: string): void {
  const columns = new Map<string, number>();
  const rows: (string | undefined)[][] = [];
  let more = 0;
  json.array(() => {
    if (rows.length >= 100_000) {
      more++;
      return;
    }
    const row: (string | undefined)[] = [];
    const put = (column: string, value: string | undefined) => {
      let at = columns.get(column);
      if (at === undefined) columns.set(column, (at = columns.size));
      row[at] = value;
    };
    if (json.peek() !== 'object') put('', scalarOrShort(json));
    else
      json.object((member) => {
        if (columns.has(member) || columns.size < maxColumns)
          put(member, member === 'digest' ? digests(json) : scalarOrShort(json));
        else to.remark(`Some members of ${name} are not columns. The raw view has them.`);
      });
    rows.push(row);
  });
  if (rows.length <= 8 && columns.size === 1 && columns.has('')) {
    to.claim(name, rows.map(([cell]) => cell ?? '').join(', '));
    return;
  }
  const headings = [...columns.keys()].map((column) => ({
    name: column === '' ? 'Value' : column,
    ...(column === 'digest' && { style: 'digest' as const }),
  }));
  if (rows.length === 0) {
    to.claim(name, 'none');
    return;
  }
  const table = to.table(name, ...headings);
  for (const row of rows) to.row(table, ...Array.from({ length: headings.length }, (_, i) => row[i]));
  table.more += more;
}

const scalarOrShort = (json: JsonReader): string | undefined => {
  const type = json.peek();
  return type === 'object' || type === 'array' ? shortened(json) : json.scalar();
};

/** Returns a value as the text of the document. */
const shortened = (json: JsonReader): string => {
  const raw = json.raw();
  return new TextDecoder().decode(raw.subarray(0, 512)) + (raw.length > 512 ? '…' : '');
};
