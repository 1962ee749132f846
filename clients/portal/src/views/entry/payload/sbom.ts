/**
 * Bills of materials: SPDX 2 and 3, CycloneDX. The members are those of
 * docs/spec/facts.md, section 6.
 */

import type { Builder, Records } from './document';
import type { JsonReader } from './json';
import { join, toolName } from './parts';
import { severity, vulnerabilityTable } from './scan';

const maxNested = 32;

const componentTable = (to: Builder): Records =>
  to.table('Components', 'Name', 'Version', { name: 'Package URL', style: 'mono' }, 'Licence');

/** Reads an SPDX document of version 2. */
export function spdx2(json: JsonReader, to: Builder): void {
  const table = componentTable(to);
  json.members({
    spdxVersion: () => (to.content.format = (json.text() ?? '').replace('SPDX-', 'SPDX ')),
    name: () => to.claim('Name', json.text()),
    documentNamespace: () => to.claim('Namespace', json.text(), 'mono'),
    creationInfo: () =>
      json.members({
        created: () => to.claim('Created', json.text(), 'time'),
        creators: () => to.claim('Creators', texts(json).join(', ')),
      }),
    packages: () =>
      json.array(() => {
        spdxPackage(json, to, table);
      }),
    files: () => to.claim('Files', String(count(json))),
    relationships: () => to.claim('Relationships', String(count(json))),
  });
}

function spdxPackage(json: JsonReader, to: Builder, table: Records): void {
  let name: string | undefined;
  let version: string | undefined;
  let concluded: string | undefined;
  let declared: string | undefined;
  let purl: string | undefined;
  json.members({
    name: () => (name = json.text()),
    versionInfo: () => (version = json.text()),
    licenseConcluded: () => (concluded = licence(json.text())),
    licenseDeclared: () => (declared = licence(json.text())),
    externalRefs: () =>
      json.array(() => {
        let type: string | undefined;
        let locator: string | undefined;
        json.members({
          referenceType: () => (type = json.text()),
          referenceLocator: () => (locator = json.text()),
        });
        if (type === 'purl') purl ??= locator;
      }),
  });
  to.row(table, name, version, purl, concluded ?? declared);
}

const licence = (text: string | undefined) => (text === 'NONE' || text === 'NOASSERTION' ? undefined : text);

/** Reads an SPDX document of version 3: a graph of elements. */
export function spdx3(json: JsonReader, to: Builder): void {
  const table = componentTable(to);
  to.content.format = 'SPDX 3';
  json.members({
    '@graph': () =>
      json.array(() => {
        let type: string | undefined;
        let name: string | undefined;
        let version: string | undefined;
        let purl: string | undefined;
        json.members({
          type: () => (type = json.text()),
          '@type': () => (type ??= json.text()),
          specVersion: () => (to.content.format = `SPDX ${json.text() ?? '3'}`),
          name: () => (name = json.text()),
          software_packageVersion: () => (version = json.text()),
          software_packageUrl: () => (purl = json.text()),
        });
        if (type === 'software_Package') to.row(table, name, version, purl, undefined);
        else if (type === 'SpdxDocument') to.claim('Name', name);
      }),
  });
}

/** Reads a CycloneDX document. Its vulnerabilities are a table of their own. */
export function cycloneDX(json: JsonReader, to: Builder): void {
  const table = componentTable(to);
  let vulnerabilities: Records | undefined;
  let version: string | undefined;
  to.content.format = 'CycloneDX';
  json.members({
    specVersion: () => (version = json.text()),
    serialNumber: () => to.claim('Serial number', json.text(), 'mono'),
    metadata: () =>
      json.members({
        timestamp: () => to.claim('Created', json.text(), 'time'),
        component: () => {
          const [name, of, purl] = component(json, to, undefined, 0);
          to.claim('Subject', join(' ', name, of));
          to.claim('Subject’s package URL', purl, 'mono');
        },
        tools: () => {
          to.claim('Tools', tools(json));
        },
      }),
    components: () =>
      json.array(() => {
        component(json, to, table, 1);
      }),
    dependencies: () => to.claim('Dependencies', String(count(json))),
    vulnerabilities: () => {
      vulnerabilities ??= vulnerabilityTable(to, 'Analysis');
      const into = vulnerabilities;
      json.array(() => {
        vulnerability(json, to, into);
      });
    },
  });
  if (version !== undefined) to.content.format = `CycloneDX ${version}`;
}

/** Reads a component and those in it, adds them to the table, and returns name, version and package URL. */
function component(json: JsonReader, to: Builder, table: Records | undefined, depth: number): (string | undefined)[] {
  let group: string | undefined;
  let name: string | undefined;
  let version: string | undefined;
  let purl: string | undefined;
  let licences: string | undefined;
  json.members({
    group: () => (group = json.text()),
    name: () => (name = json.text()),
    version: () => (version = json.text()),
    purl: () => (purl = json.text()),
    licenses: () => (licences = licencesOf(json)),
    components: () => {
      if (table === undefined) return;
      if (depth >= maxNested) to.remark(`Components that are nested deeper than ${maxNested} levels are not shown.`);
      else
        json.array(() => {
          component(json, to, table, depth + 1);
        });
    },
  });
  const full = join('/', group, name);
  if (table !== undefined) to.row(table, full, version, purl, licences);
  return [full, version, purl];
}

function licencesOf(json: JsonReader): string {
  const found: string[] = [];
  json.array(() => {
    let expression: string | undefined;
    let id: string | undefined;
    let name: string | undefined;
    json.members({
      expression: () => (expression = json.text()),
      license: () => json.members({ id: () => (id = json.text()), name: () => (name = json.text()) }),
    });
    const one = expression ?? id ?? name;
    if (one !== undefined && found.length < 64) found.push(one);
  });
  return found.join(', ');
}

/** Reads tools: an array before version 1.5, an object with components since. */
function tools(json: JsonReader): string {
  const found: string[] = [];
  const list = () => {
    json.array(() => {
      const name = toolName(json);
      if (name !== '' && found.length < 16) found.push(name);
    });
  };
  if (json.peek() === 'object') json.members({ components: list });
  else list();
  return found.join(', ');
}

function vulnerability(json: JsonReader, to: Builder, table: Records): void {
  let id: string | undefined;
  let state: string | undefined;
  const ratings: string[] = [];
  const affected: string[] = [];
  let score: number | undefined;
  json.members({
    id: () => (id = json.text()),
    ratings: () =>
      json.array(() =>
        json.members({
          severity: () => ratings.push(json.text() ?? ''),
          score: () => (score = Math.max(score ?? 0, json.number() ?? 0)),
        }),
      ),
    affects: () =>
      json.array(() =>
        json.members({
          ref: () => {
            const ref = json.text();
            if (ref !== undefined && affected.length < 64) affected.push(ref);
          },
        }),
      ),
    analysis: () => json.members({ state: () => (state = json.text()) }),
  });
  to.row(table, id, severity(ratings, score), score?.toString(), affected.join(', '), '', '', state);
}

/** Reads strings. */
export function texts(json: JsonReader, most = 64): string[] {
  const found: string[] = [];
  json.array(() => {
    const text = json.text();
    if (text !== undefined && found.length < most) found.push(text);
  });
  return found;
}

/** Counts the elements of an array. */
export function count(json: JsonReader): number {
  let n = 0;
  json.array(() => {
    n++;
  });
  return n;
}
