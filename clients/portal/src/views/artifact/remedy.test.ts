import { create } from '@bufbuild/protobuf';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { RequirementSchema } from '../../gen/muniment/v1/kinds_pb';
import { shellQuote } from '../../records/shell';
import { REASONS, commandsFor, gateCommand, readReason, type Target } from './remedy';

const digest = `sha256:${'2c'.repeat(32)}`;
const provenance = create(RequirementSchema, {
  name: 'provenance',
  predicateTypes: ['https://slsa.dev/provenance/*'],
  signers: ['release key'],
});
const image: Target = {
  type: 'image',
  digest,
  name: 'registry.example.com:5000/app:1.7.0',
};
const chart: Target = { type: 'chart', digest, name: 'gateway-1.7.0.tgz' };

describe('commands', () => {
  test('attest an image by its digest', () => {
    expect(commandsFor(provenance, image)).toEqual([
      `cosign attest --yes --key cosign.key --type slsaprovenance1 --predicate predicate.json registry.example.com:5000/app@${digest}`,
      `muniment append --from-oci registry.example.com:5000/app@${digest} --receipt-dir receipts`,
    ]);
  });

  test('attest a file', () => {
    expect(commandsFor(provenance, chart)[0]).toContain('--type slsaprovenance1 ');
    expect(commandsFor(provenance, chart)[0]).toMatch(/ gateway-1\.7\.0\.tgz$/u);
  });

  test('append other kinds', () => {
    expect(commandsFor(create(RequirementSchema, { kinds: ['finding'], unsigned: true }), chart)).toEqual([
      'muniment append FILE --kind finding',
    ]);
  });

  test('ask the gate', () => {
    expect(gateCommand(chart, 'deploy', 'production')).toBe(
      `muniment gate ${digest} --type chart --stage deploy --environment production`,
    );
  });
});

describe('hostile names', () => {
  const names = ["a'; touch /tmp/owned; '", '$(id)', '`id`', 'a b', '"', '\\', 'é', '*', '~', '!x', '#', ''];
  test.each(names)('a shell reads %j as one argument', (name) => {
    const out = execFileSync('/bin/sh', ['-c', `printf %s ${shellQuote(name)}`]);
    expect(out.toString()).toBe(name);
  });

  test.each(['-rf', '--config=x', 'a\nrm', 'a\u202egpj', '\u0000', 'x\u2028y', ''])(
    '%j is no part of a command',
    (name) => {
      const all = [...commandsFor(provenance, { ...chart, name }), ...commandsFor(provenance, { ...image, name })].join(
        ' ',
      );
      if (name !== '') expect(all).not.toContain(name);
      expect(all).toContain(' FILE');
      expect(all).toContain(`IMAGE@${digest}`);
    },
  );
});

test('every code of a reason has words, as the command has them', () => {
  const source = readFileSync(new URL('../../../../../controls/answer/text.go', import.meta.url), 'utf8');
  const codes = ['fixes', 'undecidedReasons'].flatMap((table) => {
    const body = new RegExp(`var ${table} = map\\[string\\]string\\{\n([\\s\\S]*?)\n\\}`, 'u').exec(source)?.[1] ?? '';
    return [...body.matchAll(/^\t(?:"([a-z-]+)"|missingEvidence):/gmu)].map((found) => found[1] ?? 'missing-evidence');
  });
  expect(codes.length).toBeGreaterThan(10);
  expect(Object.keys(REASONS).sort()).toEqual(codes.sort());
});

test('reasons have a code and a detail', () => {
  expect(readReason('missing-evidence: scan, sbom')).toEqual({
    code: 'missing-evidence',
    detail: 'scan, sbom',
  });
  expect(readReason('no-control-set')).toEqual({
    code: 'no-control-set',
    detail: '',
  });
});
