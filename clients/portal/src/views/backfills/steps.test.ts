import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, test } from 'vitest';
import { EntrySchema, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { chartOf } from './chart';
import {
  jobOf,
  jobsOf,
  judged,
  percentOf,
  progressAt,
  progressOf,
  stagesOf,
  stateOf,
  stepOf,
  type Step,
} from './steps';

let index = 0n;

/** Returns the entry of a step: "checkpoint 50% outcome succeeded". */
function entry(text: string, more: Record<string, string> = {}): Entry {
  const [step = '', ...rest] = text.split(' ');
  const checkpoint = rest[0]?.endsWith('%') === true ? rest.shift() : undefined;
  const [phase = '', result] = rest;
  index += 1n;
  return create(EntrySchema, {
    index,
    time: timestampFromMs(Number(index) * 1000),
    kind: 'backfill-step',
    subjects: [{ name: 'asset.yaml', digest: { sha256: 'a5'.repeat(32) } }],
    attributes: {
      entity: 'Asset',
      run: 'r1',
      actor: 'conductor@db1',
      step,
      phase,
      ...(checkpoint !== undefined && { checkpoint }),
      ...(result !== undefined && { result }),
      ...more,
    },
  });
}

const steps = (...texts: string[]): Step[] => texts.flatMap((text) => stepOf(entry(text)) ?? []);

test('reads the header of a step', () => {
  const step = stepOf(entry('checkpoint 50% outcome succeeded', { acaScore: '0.96', verdict: 'pass' }));
  expect(step).toMatchObject({
    job: { name: 'asset.yaml', digest: `sha256:${'a5'.repeat(32)}` },
    checkpoint: '50%',
    score: 0.96,
    verdict: 'pass',
    differences: undefined,
  });
  expect(stepOf(create(EntrySchema, { index: 1n }))).toBeUndefined();
  expect(stepOf(entry('validation outcome succeeded', { differences: '0' }))?.differences).toBe(0);
});

test.each([
  [['plan intent'], 'planned'],
  [['start intent', 'start outcome succeeded'], 'copying'],
  [['start outcome succeeded', 'pause outcome succeeded'], 'paused'],
  [['pause outcome succeeded', 'resume outcome succeeded'], 'copying'],
  [['start outcome succeeded', 'checkpoint 50% outcome succeeded'], 'copying'],
  [['start outcome succeeded', 'checkpoint 100% outcome succeeded'], 'copied'],
  [['checkpoint 100% outcome succeeded', 'cutover outcome failed'], 'copied'],
  [['checkpoint 100% outcome succeeded', 'cutover outcome succeeded'], 'cutover'],
  [['cutover outcome succeeded', 'rollback outcome succeeded'], 'rolled-back'],
  [['rollback outcome succeeded', 'cutover outcome succeeded', 'finish outcome succeeded'], 'finished'],
] as const)('the state after %j is %s', (texts, state) => {
  expect(stateOf(steps(...texts))).toBe(state);
});

test('groups steps by the file of the job, and shows the newest run', () => {
  const first = entry('plan outcome succeeded', { run: 'r0' });
  const other = entry('start outcome succeeded');
  for (const subject of other.subjects) subject.digest = { sha256: 'b6'.repeat(32) };
  const second = entry('start outcome succeeded', { run: 'r1' });
  const newest = [second, other, first].flatMap((one) => stepOf(one) ?? []);
  expect(jobsOf(newest).map(({ digest, state }) => [digest.slice(7, 9), state])).toEqual([
    ['a5', 'copying'],
    ['b6', 'copying'],
  ]);
  const ofFile = newest.filter(({ job }) => job.digest.includes('a5'));
  expect(jobOf(ofFile)).toMatchObject({ run: 'r1', runs: ['r1', 'r0'], state: 'copying' });
  expect(jobOf(ofFile, 'r0')).toMatchObject({ run: 'r0', state: 'planned' });
  expect(jobOf(ofFile, 'r9')).toBeUndefined();
  expect(jobOf([])).toBeUndefined();
});

test('pairs outcomes with their intents', () => {
  const stages = stagesOf(
    steps(
      'cutover intent',
      'cutover outcome failed',
      'cutover intent',
      'pause outcome succeeded',
      'cutover outcome succeeded',
    ),
  );
  expect(stages.map(({ intent, outcome }) => [intent?.step, outcome?.result])).toEqual([
    ['cutover', 'failed'],
    ['cutover', 'succeeded'],
    [undefined, 'succeeded'],
  ]);
  expect(stagesOf(steps('plan intent'))[0]?.outcome).toBeUndefined();
});

test('finds the own entry of a checkpoint before its outcome', () => {
  const at = (index: bigint) => ({ index, checkpoint: '50%', rollbackReady: true });
  const own = at(12n);
  const outcomes = steps('checkpoint 50% outcome succeeded').map((step) => ({ ...step, index: 13n }));
  expect(outcomes.map((step) => progressAt(step, [at(14n), own, at(10n)]))).toEqual([own]);
  expect(outcomes.map((step) => progressAt({ ...step, checkpoint: '55%' }, [own]))).toEqual([undefined]);
  expect(
    progressOf(create(EntrySchema, { index: 3n, attributes: { checkpoint: '5%', rollbackReady: 'true' } })),
  ).toEqual({ index: 3n, checkpoint: '5%', rollbackReady: true });
  expect(progressOf(create(EntrySchema, { index: 3n }))).toBeUndefined();
});

test('draws the scores against the threshold', () => {
  const checkpoints = judged(
    [
      entry('checkpoint 50% outcome succeeded', { acaScore: '1' }),
      entry('checkpoint 60% outcome failed'),
      entry('checkpoint 75% outcome succeeded', { acaScore: '0.5' }),
    ].flatMap((one) => stepOf(one) ?? []),
  );
  const { series, limit } = chartOf(checkpoints, 0.95);
  expect(series.map(({ values }) => values)).toEqual([
    [1, 0.5],
    [0.5, 0.75],
  ]);
  expect(limit).toEqual({ label: 'threshold', value: 0.95 });
  expect(percentOf('99.99%')).toBe(99.99);
});
