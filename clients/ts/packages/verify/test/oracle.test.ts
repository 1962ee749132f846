/** Compares the verifier of Sigstore bundles with `@sigstore/verify`. */

import { execFileSync } from 'node:child_process';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { campaign } from './campaign.js';
import { Comparison, explained, known, oracleVersion } from './oracle.js';
import type { SigstoreVectors } from './page/files.js';
import { bytes, specText } from './vectors.js';

const { vectors: ofVectors, conformance: ofConformance } = known['@sigstore/verify'];
const utf8 = new TextEncoder();
const base64 = (text: string | undefined) => Uint8Array.from(Buffer.from(text ?? '?', 'base64'));

test('every difference has a reason, and every reason a case', () => {
  const rows = explained();
  expect(new Set(rows)).toEqual(new Set([...Object.keys(ofVectors), ...Object.keys(ofConformance)]));
  expect(rows).toHaveLength(new Set(rows).size);
  const [version] = /@sigstore\/verify \d+\.\d+\.\d+/.exec(specText('sigstore-verification.md')) ?? [];
  expect(version).toBe(`@sigstore/verify ${oracleVersion()}`);
});

test('sigstore.json', async () => {
  const vectors = JSON.parse(specText('vectors/sigstore.json')) as SigstoreVectors;
  const comparison = new Comparison();
  for (const c of vectors.cases)
    await comparison.ask(c.name, {
      bundle: base64(c.bundleBase64),
      roots: c.trustedRoots.map((name) => utf8.encode(JSON.stringify(vectors.trustedRoots[name]))),
      identities: c.identities ?? [],
      keys: (c.keys ?? []).map((name) => utf8.encode(vectors.keys[name])),
      ...(c.artifact !== undefined && { artifact: base64(vectors.artifacts[c.artifact]) }),
      ...(c.artifactDigest !== undefined && { artifactSha256: bytes(c.artifactDigest) }),
    });
  console.log(`@sigstore/verify: ${comparison.compared} vectors compared, both verify ${comparison.verified}`);
  expect(comparison.differences).toEqual(ofVectors);
  expect(comparison.compared).toBe(vectors.cases.length);
  expect(comparison.verified).toBeGreaterThan(25);
});

interface Mutant {
  id: number;
  bundle: string;
  roots: string[];
  identities: { name: string; issuer: string }[] | null;
  keys: string[] | null;
  artifact?: string;
  artifactDigest?: string;
}

// One mutant in ten is a Sigstore bundle.
test('mutants', async () => {
  const { seed, length } = campaign('mutants, one in ten of a Sigstore bundle', 1000, 20_000);
  const folder = mkdtempSync(join(tmpdir(), 'muniment-oracle-'));
  const file = join(folder, 'mutants');
  const repository = fileURLToPath(new URL('../../../../../', import.meta.url));
  const args = ['run', '-trimpath', './bench/mutants', '-seed', String(seed), '-n', String(length), '-out', file];
  execFileSync('go', args, { cwd: repository, stdio: 'inherit' });
  const comparison = new Comparison();
  for await (const line of createInterface(createReadStream(file))) {
    if (!line.includes('"kind":"sigstore-bundle"')) continue;
    const { id, bundle, roots, identities, keys, artifact, artifactDigest } = JSON.parse(line) as Mutant;
    await comparison.ask(String(id), {
      bundle: base64(bundle),
      roots: roots.map(base64),
      identities: identities ?? [],
      keys: (keys ?? []).map(base64),
      ...(artifact !== undefined && { artifact: base64(artifact) }),
      ...(artifactDigest !== undefined && { artifactSha256: bytes(artifactDigest) }),
    });
  }
  rmSync(folder, { recursive: true });
  const { compared, verified, differences } = comparison;
  console.log(`@sigstore/verify: ${compared} mutants compared, both verify ${verified}`);
  const rows = new Set<string>(explained());
  const unknown = Object.fromEntries(Object.entries(differences).filter(([difference]) => !rows.has(difference)));
  expect(unknown).toEqual({});
  expect(compared).toBe(length / 10);
  expect(verified).toBeGreaterThan(0);
});
