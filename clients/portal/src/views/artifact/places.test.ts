import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { GetControlSetResponseSchema } from '../../gen/muniment/v1/gate_pb';
import { GetArtifactResponseSchema } from '../../gen/muniment/v1/portal_pb';
import { environmentsOf, guessType, placeOf } from './places';

const set = create(GetControlSetResponseSchema, {
  set: {
    stages: ['build', 'deploy'],
    environments: ['staging', 'production/**'],
  },
  controls: [
    {
      modes: [
        { stage: 'deploy', environments: ['production/eu', 'test-*'] },
        { stage: 'build', environments: ['lab'] },
      ],
    },
  ],
});
const nothing = create(GetArtifactResponseSchema);
const decided = create(GetArtifactResponseSchema, {
  subject: { type: 'image' },
  environments: ['production/us'],
  decisions: [
    { stage: 'build', environment: 'lab' },
    { stage: 'deploy', environment: 'production/us' },
  ],
});

test('environments are those without patterns', () => {
  expect(environmentsOf('deploy', set, decided)).toEqual(['production/eu', 'production/us', 'staging']);
  expect(environmentsOf('deploy', undefined, nothing)).toEqual([]);
});

test('asks what the last gate was asked, unless the address has another question', () => {
  expect(placeOf({}, set, decided)).toEqual({
    type: 'image',
    stage: 'build',
    environment: 'lab',
  });
  expect(placeOf({ stage: 'deploy' }, set, decided)).toMatchObject({
    stage: 'deploy',
    environment: 'production/us',
  });
  expect(placeOf({ stage: 'deploy', environment: '', type: 'file' }, set, decided)).toEqual({
    type: 'file',
    stage: 'deploy',
    environment: '',
  });
  expect(placeOf({}, set, nothing)).toEqual({
    type: 'file',
    stage: 'deploy',
    environment: '',
  });
  expect(placeOf({}, undefined, nothing).stage).toBe('');
});

test('does not ask about a stage that is gone', () => {
  const old = create(GetArtifactResponseSchema, {
    decisions: [{ stage: 'gone', environment: 'x' }],
  });
  expect(placeOf({}, set, old)).toMatchObject({
    stage: 'deploy',
    environment: '',
  });
});

test.each([
  [['gateway-1.7.0.tgz'], 'chart'],
  [['registry.example.com/app:1.7'], 'image'],
  [['localhost:5000/app'], 'image'],
  [['src/main.go'], 'file'],
  [[], 'file'],
] as const)('takes %j for %s', (names, type) => {
  expect(guessType(names)).toBe(type);
});
