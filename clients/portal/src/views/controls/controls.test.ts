import { create, fromJsonString } from '@bufbuild/protobuf';
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { ControlSchema, ControlSetSchema, NamedSignerSchema, RequirementSchema } from '../../gen/muniment/v1/kinds_pb';
import { candidateOf, withModes } from './candidate';
import { ageOf, atStage, frameworksOf, needsOf, signerOf, slaOf, targetOf } from './words';

const signed = create(ControlSchema, {
  id: 'CHART-SIGNED',
  frameworks: ['SOC 2: CC8.1', 'ISO 27001 (2022): A.8.32'],
  modes: [
    { stage: 'build', mode: 'warn' },
    { stage: 'deploy', mode: 'enforce', environments: ['production'] },
    { stage: 'deploy', mode: 'warn' },
  ],
});
const scanned = create(ControlSchema, {
  id: 'SCANNED',
  frameworks: ['SOC 2: CC7.1', 'SOC 2: CC8.1'],
  modes: [{ stage: 'build', mode: 'enforce' }],
});
const set = create(ControlSetSchema, {
  version: '1',
  stages: ['build', 'deploy'],
});

test('requirements in words', () => {
  expect(
    needsOf(
      create(RequirementSchema, {
        predicateTypes: ['https://slsa.dev/provenance/*'],
        signers: ['a', 'b', 'c'],
        minSigners: 2,
        maxAgeSeconds: 604_800n,
      }),
    ),
  ).toBe(
    'attestation of type https://slsa.dev/provenance/* by a, b or c, by at least 2 different ones, at most 7 days old',
  );
  expect(
    needsOf(
      create(RequirementSchema, {
        kinds: ['sbom', 'scan'],
        unsigned: true,
        optional: true,
        submitters: ['token:*'],
      }),
    ),
  ).toBe('sbom or scan, signed or not, submitted by token:* (optional)');
});

test('controls in words', () => {
  expect(atStage(signed, 'deploy')).toBe('blocks in production, warns');
  expect(atStage(signed, 'other')).toBe('');
  expect([
    targetOf(undefined),
    targetOf(
      create(ControlSchema, {
        appliesTo: { types: ['chart', 'export-manifest'], names: ['a*'] },
      }).appliesTo,
    ),
  ]).toEqual(['all artifacts', 'charts and export manifests with a name like a*']);
  expect([slaOf(undefined), slaOf(create(ControlSchema, { slaDays: { high: 30, low: 0 } }).slaDays)]).toEqual([
    'without limit',
    'high: 30 days, low: 0 days',
  ]);
  expect([ageOf(3600), ageOf(90), ageOf(172_800), ageOf(60)]).toEqual(['1 hour', '90 seconds', '2 days', '1 minute']);
  expect(
    signerOf(
      create(NamedSignerSchema, {
        name: 'x',
        identity: 'me',
        issuerRegexp: '.*',
      }),
    ),
  ).toBe('me, by .*');
});

test('maps frameworks to controls', () => {
  expect(frameworksOf([signed, scanned])).toEqual([
    {
      framework: 'ISO 27001 (2022)',
      requirement: 'A.8.32',
      controls: ['CHART-SIGNED'],
    },
    { framework: 'SOC 2', requirement: 'CC7.1', controls: ['SCANNED'] },
    {
      framework: 'SOC 2',
      requirement: 'CC8.1',
      controls: ['CHART-SIGNED', 'SCANNED'],
    },
  ]);
});

test('a candidate changes the modes of one control, and nothing else', async () => {
  const modes = (changes: Parameters<typeof withModes>[1]) =>
    withModes(signed, changes).modes.map(({ stage, mode }) => `${stage} ${mode}`);
  expect(modes({ build: 'enforce' })).toEqual(['deploy enforce', 'deploy warn', 'build enforce']);
  expect(modes({ deploy: 'off', build: 'same' })).toEqual(['build warn']);
  expect(signed.modes).toHaveLength(3);

  const { controlSet, controls } = await candidateOf(set, [signed, scanned], 'CHART-SIGNED', { build: 'enforce' });
  const read = fromJsonString(ControlSetSchema, new TextDecoder().decode(controlSet));
  expect(read.stages).toEqual(['build', 'deploy']);
  expect(read.controls).toMatchObject([{ id: 'CHART-SIGNED' }, { id: 'SCANNED' }]);
  controls.forEach((payload, i) => {
    expect(read.controls[i]?.digest).toBe(`sha256:${createHash('sha256').update(payload).digest('hex')}`);
  });
});

test('a control that is off everywhere is not in the set', async () => {
  const { controls, controlSet } = await candidateOf(set, [signed, scanned], 'SCANNED', { build: 'off' });
  expect(controls).toHaveLength(1);
  expect(fromJsonString(ControlSetSchema, new TextDecoder().decode(controlSet)).controls).toMatchObject([
    { id: 'CHART-SIGNED' },
  ]);
});
