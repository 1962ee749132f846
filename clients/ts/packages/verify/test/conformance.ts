/**
 * Sigstore's public cases for verifiers (sigstore-verification.md, section 12),
 * in the folder SIGSTORE_CONFORMANCE.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { env } from 'node:process';
import { expect, test } from 'vitest';
import { Comparison, known, ours, type Question } from './oracle.js';

const folder = env['SIGSTORE_CONFORMANCE'] ?? '';
const name =
  'https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main';
const issuer = 'https://token.actions.githubusercontent.com';

function questionOf(testCase: string): Question {
  const read = (file: string, otherwise: string) => {
    const own = join(folder, testCase, file);
    return Uint8Array.from(readFileSync(existsSync(own) ? own : join(folder, otherwise)));
  };
  const text = (file: string, otherwise: string) => {
    const own = join(folder, testCase, file);
    return existsSync(own) ? readFileSync(own, 'utf8').trim() : otherwise;
  };
  const hasKey = existsSync(join(folder, testCase, 'key.pub'));
  return {
    bundle: read('bundle.sigstore.json', ''),
    roots: [read('trusted_root.json', 'trusted-root-public-good.json')],
    identities: hasKey ? [] : [{ name: text('identity', name), issuer: text('issuer', issuer) }],
    keys: hasKey ? [read('key.pub', '')] : [],
    artifact: read('artifact', 'a.txt'),
  };
}

test('conformance', async () => {
  const table = new URL('../../../../../docs/spec/vectors/sigstore-conformance.json', import.meta.url);
  const reasons = new Map(Object.entries(JSON.parse(readFileSync(table, 'utf8')) as Record<string, string>));
  const comparison = new Comparison();
  const cases = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const wrong: string[] = [];
  for (const { name: one } of cases) {
    const question = questionOf(one);
    const answer = await ours(question);
    const reason = answer === 'verified' ? '' : answer;
    await comparison.ask(one, question);
    if ((reason !== '') !== one.endsWith('_fail') || reason !== (reasons.get(one) ?? reason))
      wrong.push(`${one}: ${reason || 'verified'}, not ${reasons.get(one) ?? 'that'}`);
  }
  console.log(`TypeScript: ${cases.length - wrong.length} of ${cases.length} conformance cases come out right`);
  console.log(
    `@sigstore/verify: ${comparison.compared} conformance cases compared, both verify ${comparison.verified}`,
  );
  expect(wrong).toEqual([]);
  expect(comparison.differences).toEqual(known['@sigstore/verify'].conformance);
  expect(cases.length).toBeGreaterThanOrEqual(reasons.size);
});
