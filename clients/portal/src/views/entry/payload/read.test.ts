import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { read, type About } from './read';

const bytesOf = (text: string) => new TextEncoder().encode(text);
const json = (value: unknown) => bytesOf(JSON.stringify(value));

interface Vector {
  name: string;
  kind?: string;
  mediaType?: string;
  predicateType?: string;
  document: string;
  facts: {
    problemCount?: number;
    sbom?: { components: { name?: string; version?: string; licenses?: string[] }[] };
    scan?: { vulnerabilities: { id: string; severity: string }[] };
    vex?: { statements: { id: string; status: string }[] };
    summary?: { result: string };
  } | null;
}

const { facts: vectors } = JSON.parse(
  readFileSync(fileURLToPath(new URL('../../../../../../docs/spec/vectors/facts.json', import.meta.url)), 'utf8'),
) as { facts: Vector[] };

function show({ kind = 'attestation', mediaType, predicateType, document }: Vector) {
  if (predicateType === undefined || mediaType !== undefined)
    return read(bytesOf(document), { kind, mediaType: mediaType ?? `application/vnd.muniment.${kind}.v1+json` });
  const statement = `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":${JSON.stringify(predicateType)},"predicate":${document}}`;
  return read(bytesOf(statement), { kind: 'attestation', mediaType: 'application/vnd.in-toto+json', predicateType });
}

const table = (content: ReturnType<typeof show>, name: string) =>
  content?.tables.find((one) => one.name === name)?.rows ?? [];

describe('the tables have what docs/spec/facts.md extracts', () => {
  const whole = vectors.filter(({ facts }) => facts !== null && facts.problemCount === undefined);
  test.each(whole.filter(({ facts }) => facts?.sbom).map((v) => [v.name, v] as const))('components: %s', (_, v) => {
    const expected = v.facts?.sbom?.components.map(({ name, version }) => `${name ?? ''} ${version ?? ''}`) ?? [];
    const shown = table(show(v), 'Components').map(([name = '', version = '']) => `${name} ${version}`);
    expect(shown.sort()).toEqual(expected.sort());
  });
  test.each(whole.filter(({ facts }) => facts?.scan && !facts.sbom).map((v) => [v.name, v] as const))(
    'scan: %s',
    (_, v) => {
      const expected = v.facts?.scan?.vulnerabilities.map(({ id, severity }) => `${id} ${severity}`) ?? [];
      const shown = table(show(v), 'Vulnerabilities').map(([id = '', severity = '']) => `${id} ${severity}`);
      expect(shown).toEqual(expected);
    },
  );
  test.each(whole.filter(({ facts }) => facts?.vex && !facts.sbom).map((v) => [v.name, v] as const))(
    'VEX: %s',
    (_, v) => {
      const expected = v.facts?.vex?.statements.map(({ id, status }) => `${id} ${status}`) ?? [];
      expect(table(show(v), 'Statements').map(([id = '', status = '']) => `${id} ${status}`)).toEqual(expected);
    },
  );
  test.each(whole.filter(({ facts }) => facts?.summary).map((v) => [v.name, v] as const))('summary: %s', (_, v) => {
    expect(show(v)?.claims).toContainEqual({ name: 'Result', value: v.facts?.summary?.result, style: 'result' });
  });
  test('every vector can be shown', () => {
    for (const v of vectors) expect(() => show(v), v.name).not.toThrow();
  });
});

describe('who chooses the viewer', () => {
  const sbom = { bomFormat: 'CycloneDX', specVersion: '1.6', components: [{ name: 'a', version: '1' }] };

  test('not the payload', () => {
    const about: About = { kind: 'attestation', mediaType: 'text/plain' };
    expect(read(json(sbom), about)).toBeUndefined();
    expect(read(json(sbom), { ...about, mediaType: 'image/svg+xml' })).toBeUndefined();
    expect(read(json(sbom), { ...about, mediaType: 'text/html' })).toBeUndefined();
  });

  test('the predicate type of the header, not of the payload', () => {
    const statement = {
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'app', digest: { sha256: 'aa' } }],
      predicateType: 'https://cyclonedx.org/bom',
      predicate: sbom,
    };
    const envelope = {
      payloadType: 'application/vnd.in-toto+json',
      payload: btoa(JSON.stringify(statement)),
      signatures: [{ keyid: 'k', sig: '' }],
    };
    const about = { kind: 'attestation', mediaType: 'application/vnd.dsse.envelope.v1+json' };
    const agreeing = read(json(envelope), { ...about, predicateType: 'https://cyclonedx.org/bom' });
    expect(agreeing?.remarks).toEqual([]);
    expect(table(agreeing, 'Components')).toEqual([['a', '1', '', '']]);
    expect(table(agreeing, 'Subjects')).toEqual([['app', 'sha256:aa']]);
    const differing = read(json(envelope), { ...about, predicateType: 'https://slsa.dev/verification_summary/v1' });
    expect(differing?.remarks[0]).toMatch(/not the one in the header/);
    expect(table(differing, 'Components')).toEqual([]);
  });

  test('a document that is none of its type is shown raw, with the reason', () => {
    const content = read(bytesOf('{"components":[{"name":"a"'), {
      kind: 'attestation',
      mediaType: 'application/vnd.cyclonedx+json',
    });
    expect(content?.remarks[0]).toMatch(/is not a document of its type: byte \d+: the document ends too early/);
    expect(content?.tables).toEqual([]);
  });

  test('repeated members are noted', () => {
    const content = read(bytesOf('{"specVersion":"1.5","specVersion":"1.6"}'), {
      kind: 'attestation',
      mediaType: 'application/vnd.cyclonedx+json',
    });
    expect(content?.remarks[0]).toContain('"specVersion" occurs twice');
  });
});

describe('any typed kind', () => {
  test('lists become tables, values claims', () => {
    const finding = {
      id: 'CVE-2026-1',
      subjects: Array.from({ length: 10_000 }, (_, i) => ({ name: `app-${i}`, digest: { sha256: String(i) } })),
      controls: ['A', 'B'],
      parameters: { constructor: 'x', ['__proto__.y']: { z: [1, 2] } },
    };
    const content = read(json(finding), { kind: 'finding', mediaType: 'application/vnd.muniment.finding.v1+json' });
    expect(table(content, 'subjects')).toHaveLength(10_000);
    expect(content?.claims).toContainEqual({ name: 'controls', value: 'A, B' });
    expect(content?.claims).toContainEqual({ name: 'parameters.constructor', value: 'x' });
    expect(content?.claims).toContainEqual({ name: 'parameters.__proto__.y.z[1]', value: '2' });
  });

  test('limits are stated', () => {
    const content = read(
      json({ parameters: Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`p${i}`, 'x'])) }),
      {
        kind: 'triage-action',
        mediaType: 'application/vnd.muniment.triage-action.v1+json',
      },
    );
    expect(content?.claims).toHaveLength(500);
    expect(content?.remarks).toEqual(['Only the first 500 values are listed.']);
  });
});

/** Encodes CBOR with lengths below 256. */
function cbor(value: unknown): number[] {
  const head = (major: number, n: number) => (n < 24 ? [(major << 5) | n] : [(major << 5) | 24, n]);
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value);
  if (value instanceof Uint8Array) return [...head(2, value.length), ...value];
  if (typeof value === 'string') return [...head(3, value.length), ...bytesOf(value)];
  if (Array.isArray(value)) return [...head(4, value.length), ...value.flatMap(cbor)];
  const map = value as Map<unknown, unknown>;
  return [...head(5, map.size), ...[...map].flatMap(([key, one]) => [...cbor(key), ...cbor(one)])];
}

test('COSE: issuer, subject and content type', () => {
  const header = new Map<unknown, unknown>([
    [1, -8],
    [3, 'application/spdx+json'],
    [
      15,
      new Map([
        [1, 'acme.example'],
        [2, 'pkg:oci/app'],
      ]),
    ],
  ]);
  const message = [Uint8Array.from(cbor(header)), new Map(), bytesOf('{}'), new Uint8Array(64)];
  const bytes = Uint8Array.from([0xd2, ...cbor(message)]);
  const content = read(bytes, { kind: 'attestation', mediaType: 'application/cose' });
  expect(content?.claims.slice(0, 4)).toEqual([
    { name: 'Issuer', value: 'acme.example', style: 'mono' },
    { name: 'Subject', value: 'pkg:oci/app', style: 'mono' },
    { name: 'Content type', value: 'application/spdx+json', style: 'mono' },
    { name: 'Algorithm', value: 'EdDSA' },
  ]);
});

test('an SBOM of 100,000 components', () => {
  const components = Array.from({ length: 100_000 }, (_, i) => ({
    name: `package-${i}`,
    version: '1.0',
    purl: `pkg:npm/package-${i}@1.0`,
    licenses: [{ license: { id: 'MIT' } }],
  }));
  const content = read(json({ specVersion: '1.6', components }), {
    kind: 'attestation',
    mediaType: 'application/vnd.cyclonedx+json',
  });
  expect(table(content, 'Components')).toHaveLength(100_000);
  expect(table(content, 'Components')[99_999]).toEqual(['package-99999', '1.0', 'pkg:npm/package-99999@1.0', 'MIT']);
});
