/**
 * Sigstore's public cases for verifiers (sigstore-verification.md, section 12),
 * in the folder SIGSTORE_CONFORMANCE.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { env } from 'node:process';
import { expect, test } from 'vitest';
import { SigstoreError, Trust } from '../src/sigstore/index.js';

const folder = env['SIGSTORE_CONFORMANCE'] ?? '';
const name =
  'https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main';
const issuer = 'https://token.actions.githubusercontent.com';

async function reasonOf(testCase: string): Promise<string> {
  const read = (file: string, otherwise: string) => {
    const own = join(folder, testCase, file);
    return Uint8Array.from(readFileSync(existsSync(own) ? own : join(folder, otherwise)));
  };
  const text = (file: string, otherwise: string) => {
    const own = join(folder, testCase, file);
    return existsSync(own) ? readFileSync(own, 'utf8').trim() : otherwise;
  };
  const roots = [read('trusted_root.json', 'trusted-root-public-good.json')];
  const key = join(folder, testCase, 'key.pub');
  const identities = [{ name: text('identity', name), issuer: text('issuer', issuer) }];
  try {
    const trust = await Trust.create(
      existsSync(key) ? { roots, keys: [Uint8Array.from(readFileSync(key))] } : { roots, identities },
    );
    await trust.verify(read('bundle.sigstore.json', ''), { artifact: read('artifact', 'a.txt') });
    return '';
  } catch (error) {
    if (error instanceof SigstoreError) return error.code;
    throw error;
  }
}

test('conformance', async () => {
  const table = new URL('../../../../../docs/spec/vectors/sigstore-conformance.json', import.meta.url);
  const reasons = new Map(Object.entries(JSON.parse(readFileSync(table, 'utf8')) as Record<string, string>));
  const cases = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const wrong: string[] = [];
  for (const { name: one } of cases) {
    const reason = await reasonOf(one);
    if ((reason !== '') !== one.endsWith('_fail') || reason !== (reasons.get(one) ?? reason))
      wrong.push(`${one}: ${reason || 'verified'}, not ${reasons.get(one) ?? 'that'}`);
  }
  console.log(`TypeScript: ${cases.length - wrong.length} of ${cases.length} conformance cases come out right`);
  expect(wrong).toEqual([]);
  expect(cases.length).toBeGreaterThanOrEqual(reasons.size);
});
