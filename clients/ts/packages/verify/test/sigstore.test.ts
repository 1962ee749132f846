import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { describe, expect, test } from 'vitest';
import { SIGSTORE_STEPS, SigstoreError, Trust, TrustError } from '../src/sigstore/index.js';
import type { SigstoreVectors } from './page/files.js';

const root = (path: string) => new URL(`../../../../../${path}`, import.meta.url);
const publicGood = Uint8Array.from(readFileSync(root('verifiers/sigstore/public-good.json')));
const someone = { name: 'ci@acme.example', issuer: 'https://issuer.example' };
const utf8 = new TextEncoder();

test('codes and steps match the specification', () => {
  const text = readFileSync(root('docs/spec/sigstore-verification.md'), 'utf8');
  const steps: Record<string, number> = {};
  for (const [, step, codes] of text.matchAll(/^\| (\d+) \| (`.*`) \|$/gm))
    for (const [, code] of (codes ?? '').matchAll(/`([^`]+)`/g)) steps[code ?? ''] = Number(step);
  expect(SIGSTORE_STEPS).toEqual(steps);
});

describe('inputs', () => {
  test.each([
    { options: {}, code: 'policy-missing' },
    { options: { identities: [someone], keys: [utf8.encode('key')] }, code: 'policy-missing' },
    { options: { identities: [{ ...someone, name: '' }] }, code: 'identity-missing' },
    { options: { identities: [someone, { ...someone, issuer: '' }] }, code: 'identity-missing' },
    { options: { keys: [utf8.encode('key')] }, code: 'key-malformed' },
    { options: { identities: [someone], roots: [] }, code: 'trusted-root-malformed' },
    { options: { identities: [someone], roots: [utf8.encode('{}')] }, code: 'trusted-root-malformed' },
  ])('$code', async ({ options, code }) => {
    const created = Trust.create({ roots: [publicGood], ...options });
    await expect(created).rejects.toBeInstanceOf(TrustError);
    await expect(created).rejects.toMatchObject({ code, step: 0 });
  });

  test('bundle-malformed', async () => {
    const trust = await Trust.create({ roots: [publicGood], identities: [someone] });
    await expect(trust.verify(utf8.encode('{}'))).rejects.toMatchObject({ code: 'bundle-malformed', step: 1 });
  });
});

// Each web page that verifies loads the script.
test('the script for browsers stays small', async () => {
  const bundle = await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      lib: { entry: fileURLToPath(new URL('../src/sigstore/index.ts', import.meta.url)), formats: ['es'] },
    },
  });
  const [output] = Array.isArray(bundle) ? bundle : [];
  const script = output?.output[0].code ?? '';
  expect(script).not.toMatch(/require\(|from ["']node:|__vite-browser-external/);
  expect(script.length).toBeGreaterThan(10_000);
  expect(gzipSync(script).length).toBeLessThan(60_000);
});

const vectors = JSON.parse(readFileSync(root('docs/spec/vectors/sigstore.json'), 'utf8')) as SigstoreVectors;

describe('sigstore.json', () => {
  test.each(vectors.cases)('$name', async (c) => {
    const decode = (text: string | undefined) => Uint8Array.from(Buffer.from(text ?? '?', 'base64'));
    const judge = async () => {
      const trust = await Trust.create({
        roots: c.trustedRoots.map((name) => utf8.encode(JSON.stringify(vectors.trustedRoots[name]))),
        identities: c.identities ?? [],
        keys: (c.keys ?? []).map((name) => utf8.encode(vectors.keys[name])),
      });
      const { identity, key } = await trust.verify(decode(c.bundleBase64), {
        ...(c.artifact !== undefined && { artifact: decode(vectors.artifacts[c.artifact]) }),
        ...(c.artifactDigest !== undefined && {
          artifactSha256: Uint8Array.from(Buffer.from(c.artifactDigest, 'hex')),
        }),
      });
      return { verdict: 'verified', signer: identity ?? { key: c.keys?.[key ?? 0] } };
    };
    const got = await judge().catch((error: unknown) => {
      if (!(error instanceof SigstoreError)) throw error;
      return { verdict: error instanceof TrustError ? 'not-checked' : 'refused', reason: error.code };
    });
    expect(got).toMatchObject({
      verdict: c.verdict,
      ...(c.reason !== undefined && { reason: c.reason }),
      ...(c.signer && { signer: c.signer }),
    });
  });
});
