/**
 * Results of scanners, and statements about exploitability. The members are
 * those of docs/spec/facts.md, section 6.
 */

import type { Builder, Records } from './document';
import type { JsonReader } from './json';
import { digests, join } from './parts';
import { texts } from './sbom';

/** Begins a table of vulnerabilities. */
export const vulnerabilityTable = (to: Builder, ...more: string[]): Records =>
  to.table(
    'Vulnerabilities',
    { name: 'Identifier', style: 'mono' },
    { name: 'Severity', style: 'severity' },
    'Score',
    'Package',
    'Version',
    'Fixed in',
    ...more,
  );

const severities = ['unknown', 'info', 'low', 'medium', 'high', 'critical'];
const spellings = new Map([
  ['important', 'high'],
  ['moderate', 'medium'],
  ['informational', 'info'],
  ['negligible', 'info'],
  ['none', 'info'],
]);

/** Returns the highest of the severities, or the one of the score. */
export function severity(words: readonly string[], score?: number): string {
  let highest = 0;
  for (const word of words) {
    const lower = word.toLowerCase();
    highest = Math.max(highest, severities.indexOf(spellings.get(lower) ?? lower));
  }
  if (highest > 0) return severities[highest] ?? 'unknown';
  if (score === undefined || score <= 0) return 'unknown';
  return score >= 9 ? 'critical' : score >= 7 ? 'high' : score >= 4 ? 'medium' : 'low';
}

/** Reads the attestation of cosign around the report of trivy or grype. */
export function cosignVuln(json: JsonReader, to: Builder): void {
  json.members({
    scanner: () =>
      json.members({
        uri: () => to.claim('Scanner', json.text(), 'mono'),
        version: () => to.claim('Version of the scanner', json.text()),
        result: () => {
          report(json, to);
        },
      }),
    metadata: () => {
      scanTimes(json, to);
    },
  });
}

function scanTimes(json: JsonReader, to: Builder): void {
  json.members({
    scanStartedOn: () => to.claim('Started', json.text(), 'time'),
    scanFinishedOn: () => to.claim('Finished', json.text(), 'time'),
  });
}

/** Reads the report of trivy or grype itself. */
export function report(json: JsonReader, to: Builder): void {
  let table: Records | undefined;
  const records = () => (table ??= vulnerabilityTable(to));
  to.content.format ||= 'scan';
  json.members({
    ArtifactName: () => to.claim('Artifact', json.text()),
    CreatedAt: () => to.claim('Created', json.text(), 'time'),
    SchemaVersion: () => (to.content.format = 'report of trivy'),
    Results: () => {
      to.content.format = 'report of trivy';
      const into = records();
      json.array(() =>
        json.members({
          Vulnerabilities: () =>
            json.array(() => {
              trivyVulnerability(json, to, into);
            }),
        }),
      );
    },
    matches: () => {
      to.content.format = 'report of grype';
      const into = records();
      json.array(() => {
        grypeMatch(json, to, into);
      });
    },
    descriptor: () =>
      json.members({ name: () => to.claim('Scanner', json.text()), version: () => to.claim('Version', json.text()) }),
  });
  if (table === undefined) to.remark('The report is neither of trivy nor of grype, so it is not shown as a table.');
}

function trivyVulnerability(json: JsonReader, to: Builder, table: Records): void {
  let id: string | undefined;
  let name: string | undefined;
  let version: string | undefined;
  let fixed: string | undefined;
  const words: string[] = [];
  let score: number | undefined;
  json.members({
    VulnerabilityID: () => (id = json.text()),
    PkgName: () => (name = json.text()),
    InstalledVersion: () => (version = json.text()),
    FixedVersion: () => (fixed = json.text()),
    Severity: () => words.push(json.text() ?? ''),
    CVSS: () =>
      json.object(() =>
        json.object((member) => {
          if (/^V(2|3|40)Score$/.test(member)) score = Math.max(score ?? 0, json.number() ?? 0);
        }),
      ),
  });
  to.row(table, id, severity(words, score), score?.toString(), name, version, fixed);
}

function grypeMatch(json: JsonReader, to: Builder, table: Records): void {
  let id: string | undefined;
  let name: string | undefined;
  let version: string | undefined;
  let fixed: string | undefined;
  const words: string[] = [];
  let score: number | undefined;
  json.members({
    vulnerability: () =>
      json.members({
        id: () => (id = json.text()),
        severity: () => words.push(json.text() ?? ''),
        cvss: () =>
          json.array(() =>
            json.members({
              metrics: () => json.members({ baseScore: () => (score = Math.max(score ?? 0, json.number() ?? 0)) }),
            }),
          ),
        fix: () => json.members({ versions: () => (fixed = texts(json).join(', ')) }),
      }),
    artifact: () => json.members({ name: () => (name = json.text()), version: () => (version = json.text()) }),
  });
  to.row(table, id, severity(words, score), score?.toString(), name, version, fixed);
}

/** Reads the scan of the attestation framework, versions 0.1 and 0.2. */
export function vulns(json: JsonReader, to: Builder): void {
  const table = to.table(
    'Vulnerabilities',
    { name: 'Identifier', style: 'mono' },
    { name: 'Severity', style: 'severity' },
    'Score',
  );
  to.content.format = 'scan';
  json.members({
    scanner: () =>
      json.members({
        uri: () => to.claim('Scanner', json.text(), 'mono'),
        version: () => to.claim('Version of the scanner', json.text()),
        result: () =>
          json.array(() => {
            let id: string | undefined;
            const words: string[] = [];
            let score: number | undefined;
            const method = () =>
              json.members({
                score: () => {
                  const text = json.scalar() ?? '';
                  if (/^\d+(\.\d+)?$/.test(text)) score = Math.max(score ?? 0, Number(text));
                  else words.push(text);
                },
              });
            const rating = () => {
              if (json.peek() === 'array') json.array(method);
              else method();
            };
            json.members({
              id: () => (id ??= json.text()),
              severity: rating,
              vulnerability: () => json.members({ id: () => (id = json.text()), severity: rating }),
            });
            to.row(table, id, severity(words, score), score?.toString());
          }),
      }),
    metadata: () => {
      scanTimes(json, to);
    },
  });
}

/** Reads SARIF 2 (OASIS). */
export function sarif(json: JsonReader, to: Builder): void {
  const table = to.table('Results', { name: 'Rule', style: 'mono' }, { name: 'Level', style: 'severity' }, 'Message', {
    name: 'Place',
    style: 'mono',
  });
  to.content.format = 'SARIF';
  json.members({
    version: () => (to.content.format = `SARIF ${json.text() ?? ''}`.trim()),
    runs: () =>
      json.array(() =>
        json.members({
          tool: () =>
            json.members({
              driver: () => {
                let name: string | undefined;
                let version: string | undefined;
                json.members({ name: () => (name = json.text()), version: () => (version = json.text()) });
                to.claim('Tool', join(' ', name, version));
              },
            }),
          results: () =>
            json.array(() => {
              sarifResult(json, to, table);
            }),
        }),
      ),
  });
}

function sarifResult(json: JsonReader, to: Builder, table: Records): void {
  let rule: string | undefined;
  let level = 'warning'; // the default of the standard
  let message: string | undefined;
  let place: string | undefined;
  let line: number | undefined;
  json.members({
    ruleId: () => (rule = json.text()),
    level: () => (level = json.text() ?? level),
    message: () => json.members({ text: () => (message = json.text()) }),
    locations: () =>
      json.array((i) => {
        if (i > 0) return;
        json.members({
          physicalLocation: () =>
            json.members({
              artifactLocation: () => json.members({ uri: () => (place = json.text()) }),
              region: () => json.members({ startLine: () => (line = json.number()) }),
            }),
        });
      }),
  });
  to.row(table, rule, level, message, join(':', place, line?.toString()));
}

/** Reads an OpenVEX document. */
export function openVEX(json: JsonReader, to: Builder): void {
  const table = to.table(
    'Statements',
    { name: 'Vulnerability', style: 'mono' },
    { name: 'Status', style: 'result' },
    'Justification',
    { name: 'Products', style: 'mono' },
    { name: 'Time', style: 'time' },
  );
  to.content.format = 'OpenVEX';
  json.members({
    '@id': () => to.claim('Identifier', json.text(), 'mono'),
    author: () => to.claim('Author', json.text()),
    timestamp: () => to.claim('Created', json.text(), 'time'),
    last_updated: () => to.claim('Updated', json.text(), 'time'),
    statements: () =>
      json.array(() => {
        let id: string | undefined;
        let status: string | undefined;
        let justification: string | undefined;
        let impact: string | undefined;
        let time: string | undefined;
        const about: string[] = [];
        json.members({
          vulnerability: () => {
            if (json.peek() === 'string') id = json.text();
            else json.members({ name: () => (id = json.text()), '@id': () => (id ??= json.text()) });
          },
          status: () => (status = json.text()),
          justification: () => (justification = json.text()),
          impact_statement: () => (impact = json.text()),
          timestamp: () => (time ??= json.text()),
          last_updated: () => (time = json.text()),
          products: () =>
            json.array(() => {
              const product = productOf(json);
              if (product !== '' && about.length < 64) about.push(product);
            }),
        });
        to.row(table, id, status, justification ?? impact, about.join(', '), time);
      }),
  });
}

function productOf(json: JsonReader): string {
  if (json.peek() === 'string') return json.text() ?? '';
  let id: string | undefined;
  let purl: string | undefined;
  let hashes: string | undefined;
  json.members({
    '@id': () => (id = json.text()),
    identifiers: () => json.members({ purl: () => (purl = json.text()) }),
    hashes: () => (hashes = digests(json)),
  });
  return id ?? purl ?? hashes ?? '';
}
