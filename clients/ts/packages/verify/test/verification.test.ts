/**
 * Verification with a configuration: the vectors of each kind, and those of
 * verify.md.
 */

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  ConfigurationError,
  folderOf,
  parseConfiguration,
  verifyFile,
  type AnyInputs,
  type VerifiedReport,
  type VerificationKind,
} from '../src/index.js';
import { comparable, configured, decode, judge, reading, utf8, type VerifyVectors } from './judge.js';
import { MAX_RECEIPT_BYTES } from '../src/receipt.js';
import type { ExportVectors, SigstoreVectors } from './page/files.js';
import {
  bytesOf,
  filled,
  optionsOf,
  receiptCase,
  receiptOf,
  receipts,
  type BundleFile,
  type FilledCase,
  type ReceiptCase,
} from './vectors.js';

const load = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../../../../docs/spec/vectors/${name}`, import.meta.url), 'utf8'));
const vectors = load('verify.json') as VerifyVectors;

describe('verify.json', () => {
  test.each(vectors.configurations)('configuration: $name', async ({ name, code }) => {
    const parsed = configured(vectors, name);
    if (code === undefined) await parsed;
    else await expect(parsed).rejects.toMatchObject({ name: ConfigurationError.name, code });
  });

  test.each(vectors.verifications)('$name', async (c) => {
    const report = await judge(vectors, c);
    if (report.verdict !== 'verified') expect(report.message).toMatch(/./);
    expect(comparable(report)).toBe(JSON.stringify(c.report));
    if (c.text !== undefined) expect(report.toText()).toBe(c.text);
  });
});

// JSON.parse, by which the tests compare reports, sorts names of numbers.
test('a report keeps the order of the header', async () => {
  const found = vectors.verifications.find((c) => c.name === 'a receipt with names of numbers');
  if (found === undefined) throw new Error('no vector');
  const report = await judge(vectors, found);
  const expected = '"attributes":{"b":"x","10":"y","2":"z","a":"1","toJSON":"t","__proto__":"p"}';
  for (const text of [JSON.stringify(report), JSON.stringify({ reports: [report.toJSON()] })]) {
    expect(text).toContain(expected);
    expect(text).toContain('"digest":{"gitCommit":"abc","7":"x","1":"y","sha256":');
  }
  const { claimed } = report as VerifiedReport<'receipt'>;
  expect(structuredClone(claimed)).toEqual(claimed); // for workers
  expect(claimed.header?.attributes?.['10']).toBe('y');
});

interface ValuesCase extends FilledCase {
  configuration: string;
  kind?: VerificationKind;
  code: string;
}

describe('json-values.json', () => {
  test.each(load('json-values.json') as ValuesCase[])('$name', async (c) => {
    const input = { name: c.name, content: filled(c) };
    const report = await verifyFile(await configured(vectors, c.configuration), input, c.kind && { kind: c.kind });
    expect(report).toMatchObject({ code: c.code });
  });
});

const verdicts: Record<string, string> = { refused: 'not-verified', 'not-checked': 'error' };

describe('receipts.json', () => {
  const parsed = new Map<string, ReturnType<typeof parseConfiguration>>();
  const configurationOf = (c: ReceiptCase) => {
    const key = c.expect?.streamKey;
    const text = JSON.stringify({
      ...(c.policies.length > 0 && { trustPolicy: c.policies }),
      ...(key !== undefined && { streamKey: `${key}.key` }),
    });
    const files = {
      ...receipts.policies,
      ...Object.fromEntries(Object.entries(receipts.streamKeys).map(([name, of]) => [`${name}.key`, of])),
    };
    const known = parsed.get(text) ?? parseConfiguration(text, reading(files));
    parsed.set(text, known);
    return known;
  };

  test.each(receipts.cases)('$name', async (c) => {
    let configuration;
    try {
      configuration = await configurationOf(c);
    } catch (error) {
      expect(error).toMatchObject({ code: c.reason });
      return;
    }
    const content = receiptOf(c);
    const { payload, external, headerOnly, ...options } = optionsOf(c);
    delete options.streamKey;
    const inputs = {
      kind: 'receipt' as const,
      ...(payload && { payload }),
      ...(external && { external }),
      ...(headerOnly !== undefined && { headerOnly }),
      expect: options,
    };
    const report = await verifyFile(configuration, { name: 'r', content }, inputs);
    const own: Record<string, unknown> = { ...c.report };
    delete own['content'];
    expect(JSON.parse(JSON.stringify(report))).toMatchObject(
      c.verdict === 'verified'
        ? { file: 'r', kind: 'receipt', verdict: 'verified', ...own }
        : { verdict: verdicts[c.verdict], code: c.reason },
    );
  });
});

describe('sigstore.json', () => {
  const { trustedRoots, keys, artifacts, cases } = load('sigstore.json') as SigstoreVectors;
  const files = {
    ...keys,
    ...Object.fromEntries(Object.entries(trustedRoots).map(([name, of]) => [`${name}.root`, JSON.stringify(of)])),
  };
  test.each(cases)('$name', async (c) => {
    const text = JSON.stringify({
      trustedRoot: c.trustedRoots.map((name) => `${name}.root`),
      ...(c.keys && { trustedKeys: c.keys }),
      ...(c.identities && { identities: c.identities.map(({ name: subject, issuer }) => ({ issuer, subject })) }),
    });
    if (c.keys && c.identities) return; // a configuration can have both
    let configuration;
    try {
      configuration = await parseConfiguration(text, reading(files));
    } catch (error) {
      if (c.trustedRoots.length > 0) expect(error).toMatchObject({ code: c.reason });
      else expect(error).toMatchObject({ code: 'configuration-invalid' });
      return;
    }
    const report = await verifyFile(
      configuration,
      { name: 'b', content: decode(c.bundleBase64) },
      {
        kind: 'sigstore-bundle',
        ...(c.artifact !== undefined && { artifact: decode(artifacts[c.artifact]) }),
        ...(c.artifactDigest !== undefined && { artifact: `sha256:${c.artifactDigest}` }),
      },
    );
    // With keys as well as identities, a bundle can be verified by either.
    expect(report).toMatchObject({
      verdict: verdicts[c.verdict] ?? c.verdict,
      ...(c.reason !== undefined && { code: c.reason }),
    });
  });
});

describe('exports.json', () => {
  const all = load('exports.json') as ExportVectors;
  const files = {
    ...Object.fromEntries(Object.entries(all.keys).map(([name, of]) => [`${name}.pub`, of])),
    ...Object.fromEntries(Object.entries(all.policies).map(([name, of]) => [`${name}.policy`, of])),
    ...Object.fromEntries(Object.entries(all.streamKeys).map(([name, of]) => [`${name}.key`, of])),
  };
  test.each(all.cases)('$name', async (c) => {
    const text = JSON.stringify({
      ...(c.keys.length > 0 && { trustedKeys: c.keys.map((name) => `${name}.pub`) }),
      ...(c.policies?.length && { trustPolicy: c.policies.map((name) => `${name}.policy`) }),
      ...(c.streamKey !== undefined && { streamKey: `${c.streamKey}.key` }),
      licenses: c.licenses,
      residency: c.residency,
      epsilon: c.epsilon,
    });
    let configuration;
    try {
      configuration = await parseConfiguration(text, reading(files));
    } catch (error) {
      expect(error).toMatchObject({ code: c.reason });
      return;
    }
    const folder = c.files === undefined ? undefined : all.files[c.files];
    const report = await verifyFile(
      configuration,
      { name: 'm', content: decode(c.manifest) },
      {
        kind: 'export',
        ...(folder && { files: folderOf(new Map(Object.entries(folder).map(([path, of]) => [path, decode(of)]))) }),
        ...(c.receipt !== undefined && { receipt: decode(all.receipts[c.receipt]) }),
        ...(c.stream !== undefined && { stream: decode(all.streams[c.stream]) }),
        ...(c.expect && { expect: c.expect }),
      },
    );
    expect(JSON.parse(JSON.stringify(report))).toMatchObject(
      c.verdict === 'verified'
        ? { kind: 'export', verdict: 'verified', ...c.report }
        : { verdict: verdicts[c.verdict], code: c.reason },
    );
  });
});

describe('bundles.json', () => {
  const all = load('bundles.json') as BundleFile;
  const files = {
    ...Object.fromEntries(Object.entries(all.policies).map(([name, of]) => [`${name}.policy`, of])),
    ...Object.fromEntries(Object.entries(all.streamKeys).map(([name, of]) => [`${name}.key`, of])),
  };
  const cases = all.cases.map((c) => ({ ...c, content: bytesOf(all, c) }));
  test.each(cases)('$name', async (c) => {
    const text = JSON.stringify({
      ...(c.policies.length > 0 && { trustPolicy: c.policies.map((name) => `${name}.policy`) }),
      ...(c.streamKey !== undefined && { streamKey: `${c.streamKey}.key` }),
    });
    let configuration;
    try {
      configuration = await parseConfiguration(text, reading(files));
    } catch (error) {
      expect(error).toMatchObject({ code: c.reason });
      return;
    }
    const inputs = c.expect ? { expect: c.expect } : {};
    const file = { name: 'b', content: c.content };
    const report = await verifyFile(configuration, file, { kind: 'evidence-bundle', ...inputs });
    const { warnings, ...proven } = (c.report ?? { warnings: [] }) as { warnings: string[]; erased?: number };
    const { erased } = proven;
    const expected = warnings.flatMap((one) =>
      one === 'reports-not-compared' && (erased ?? 0) > 0 ? ['erased', one] : [one],
    );
    expect(JSON.parse(JSON.stringify(report))).toMatchObject(
      c.verdict === 'verified'
        ? { kind: 'evidence-bundle', verdict: 'verified', proven, warnings: expected }
        : { verdict: verdicts[c.verdict], code: c.reason },
    );
    if (c.verdict !== 'verified' || c.streamKey === undefined) return;
    const stream = await verifyFile(configuration, file, { kind: 'stream', ...inputs });
    if ('identity' in (c.expect ?? {})) expect(stream).toMatchObject({ verdict: 'error', code: 'input-unexpected' });
    else expect(JSON.parse(JSON.stringify(stream))).toMatchObject({ kind: 'stream', verdict: 'verified', proven });
  });

  test('the claims of a stream', async () => {
    const c = cases.find(({ verdict, streamKey }) => verdict === 'verified' && streamKey !== undefined);
    const configuration = await parseConfiguration(
      JSON.stringify({ trustPolicy: `${c?.policies[0] ?? ''}.policy`, streamKey: `${c?.streamKey ?? ''}.key` }),
      reading(files),
    );
    const report = await verifyFile(
      configuration,
      { name: 'b', content: c?.content ?? new Uint8Array() },
      { kind: 'stream' },
    );
    expect(report.toText()).toMatch(/^✓ VERIFIED {2}stream {2}b\nProven\n {2}identity/);
    if (report.verdict !== 'verified' || report.kind !== 'stream') throw new Error('not a stream');
    const { kinds, first = 0, newest = 0, time } = report.claimed;
    expect(kinds.reduce((sum, { entries }) => sum + entries, 0)).toBeLessThanOrEqual(report.proven.entries);
    expect(kinds.map(({ kind }) => kind)).toEqual(kinds.map(({ kind }) => kind).sort());
    expect(first).toBeLessThanOrEqual(newest);
    expect(newest).toBeLessThanOrEqual(time);
  });
});

describe('recognition', () => {
  const recognized = async (content: Uint8Array | string, inputs: AnyInputs = {}) => {
    const configuration = await parseConfiguration('{}');
    const bytes = typeof content === 'string' ? utf8.encode(content) : content;
    return await verifyFile(configuration, { name: 'f', content: bytes }, inputs);
  };
  const payload = (type: string) => Buffer.from(JSON.stringify({ predicateType: type, n: -1.5 })).toString('base64');
  const manifest = payload('https://muniment.dev/predicate/export-manifest/v9');
  const archive = new Uint8Array(512);
  archive.set(utf8.encode('ustar'), 257);

  test.each<[string, Uint8Array | string, string | undefined]>([
    ['a receipt', '{"mediaType":"application/vnd.muniment.receipt.v9+json"}', 'receipt'],
    ['an archive', archive, 'evidence-bundle'],
    ['a bundle', '{"verificationMaterial":{}}', 'sigstore-bundle'],
    ['a bundle by its media type', '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.9+json"}', 'sigstore-bundle'],
    ['an envelope', '{"payloadType":"x"}', 'export'],
    ['an export in a bundle', `{"mediaType":1,"dsseEnvelope":{"payload":"${manifest}"}}`, 'export'],
    ['an export in material', `{"verificationMaterial":1,"dsseEnvelope":{"payload":"${manifest}"}}`, 'export'],
    ['an envelope without a bundle', `{"dsseEnvelope":{"payload":"${manifest}"}}`, undefined],
    ['another statement', `{"verificationMaterial":1,"dsseEnvelope":{"payload":"${payload('x')}"}}`, 'sigstore-bundle'],
    ['any numbers', '{"payloadType":1e400,"a":-0.5}', 'export'],
    ['nesting of 17 levels', `{"payloadType":${'['.repeat(16)}${']'.repeat(16)}}`, undefined],
    ['a member twice', '{"payloadType":1,"payloadType":1}', undefined],
    ['nothing', '', undefined],
    ['an array', '[]', undefined],
    ['a large document', `{"payloadType":1}${' '.repeat((16 << 20) - 17)}`, 'export'],
    ['a document that is too large', `{"payloadType":1}${' '.repeat((16 << 20) - 16)}`, undefined],
  ])('%s', async (_, content, kind) => {
    const report = await recognized(content);
    expect(report.kind).toBe(kind);
    expect(report.verdict).not.toBe('verified');
    if (kind === undefined) expect(report).toMatchObject({ verdict: 'error', code: 'kind-unknown', step: 0 });
  });

  test.each<[string, VerificationKind, AnyInputs]>([
    ['artifact', 'receipt', { artifact: new Uint8Array() }],
    ['identity', 'receipt', { expect: { identity: 'x' } }],
    ['payload', 'export', { payload: new Uint8Array() }],
    ['subject', 'export', { expect: { subject: 'x' } }],
    ['tenant', 'sigstore-bundle', { expect: { tenant: 'x' } }],
    ['identity', 'stream', { expect: { identity: 'x' } }],
    ['headerOnly', 'evidence-bundle', { headerOnly: true }],
  ])('the input %s of the kind %s', async (_, kind, inputs) => {
    expect(await recognized('{}', { ...inputs, kind })).toMatchObject({
      kind,
      verdict: 'error',
      code: 'input-unexpected',
      step: 0,
    });
  });

  test('errors of the caller', async () => {
    expect(await recognized('{}', { kind: 'receipt' })).toMatchObject({ verdict: 'error', code: 'policy-missing' });
    expect(await recognized('{}', { kind: 'stream' })).toMatchObject({ verdict: 'error', code: 'policy-missing' });
    expect(await recognized('{}', { kind: 'evidence-bundle' })).toMatchObject({ code: 'policy-missing', step: 0 });
    expect(await recognized('{}', { kind: 'sigstore-bundle' })).toMatchObject({ code: 'policy-missing', step: 0 });
    expect(await recognized('{}', { kind: 'export' })).toMatchObject({ verdict: 'error', code: 'trust-missing' });
    const configuration = await parseConfiguration('{"trustPolicy":"p"}', reading({ p: receipts.policies['log'] }));
    const stream = await verifyFile(
      configuration,
      { name: 'f', content: archive },
      { kind: 'stream', expect: { tenant: '' } },
    );
    expect(stream).toMatchObject({ verdict: 'error', code: 'stream-key-missing', step: 0 });
    const large = { size: MAX_RECEIPT_BYTES + 1, read: (_: number, length: number) => new Uint8Array(length) };
    const receipt = await verifyFile(configuration, { name: 'f', content: large }, { kind: 'receipt' });
    expect(receipt).toMatchObject({ verdict: 'error', code: 'unreadable', step: 0 });
    const broken = { size: 1024, read: () => Promise.reject(new Error('disk failure')) };
    for (const kind of ['receipt', 'sigstore-bundle', 'evidence-bundle', 'export', undefined] as const)
      expect(
        await verifyFile(
          await parseConfiguration(
            '{"trustPolicy":"p","trustedKeys":["k"]}',
            reading({
              p: receipts.policies['log'],
              k: Object.values((load('sigstore.json') as SigstoreVectors).keys)[0],
            }),
          ),
          { name: 'f', content: broken },
          kind ? { kind } : {},
        ),
      ).toMatchObject({
        verdict: 'error',
        code: 'unreadable',
        message: expect.stringMatching(/disk failure/) as string,
      });
  });

  test('a browser file', async () => {
    const configuration = await parseConfiguration(
      '{"trustPolicy":"p"}',
      new Map([['p', new Blob([receipts.policies['log'] ?? ''])]]),
    );
    const file = new File([receiptOf(receiptCase('full')) as BlobPart], 'full.json');
    expect(await verifyFile(configuration, file)).toMatchObject({
      file: 'full.json',
      kind: 'receipt',
      verdict: 'verified',
    });
  });
});
