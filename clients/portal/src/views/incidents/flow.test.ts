import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, test } from 'vitest';
import { IncidentStepSchema, type IncidentStep } from '../../gen/muniment/v1/portal_pb';
import { coursesOf, reasonIn, secondsBetween } from './flow';

const step = (of: Partial<IncidentStep>) =>
  create(IncidentStepSchema, { number: 1, action: 'set', state: 'confirmed', intent: 1n, ...of } as IncidentStep);

const texts = (steps: IncidentStep[]) =>
  coursesOf({ steps }).map(({ step: { action }, phases }) => [action, ...phases.map(({ text }) => text)]);

test('a step is shown with its undo, and the undo is no step of its own', () => {
  const undone = step({ outcome: 2n, result: 'succeeded', state: 'undone', undoneBy: 2 });
  const undo = step({ number: 2, action: 'restore', intent: 3n, outcome: 4n, undoes: 1 });
  const [course, ...others] = coursesOf({ steps: [undone, undo] });
  expect(others).toEqual([]);
  expect(course?.phases.map(({ index }) => index)).toEqual([1n, 2n, 4n]);
  expect(course?.phases[2]?.text).toBe('The target has its former state');
  expect(course?.attempts).toBe(1);
});

test.each([
  [{ state: 'intended' }, 'Not recorded yet', 'Not yet'],
  [{ outcome: 2n, result: 'succeeded' }, 'The target has the new state', 'Not yet: the effect lasts'],
  [
    { outcome: 2n, result: 'succeeded', lapses: true },
    'The target has the new state',
    'Not needed: the effect lapses by itself',
  ],
  [{ outcome: 2n, result: 'failed', state: 'failed' }, 'The target does not have the new state', 'Nothing to undo'],
  [{ outcome: 2n, result: 'skipped', state: 'skipped' }, 'Not taken', 'Nothing to undo'],
  [
    { outcome: 2n, result: 'succeeded', state: 'kept', undoneBy: 2 },
    'The target has the new state',
    'Kept: somebody else has changed the target since',
  ],
  [{ outcome: 2n, result: 'other' }, 'other', 'Not yet: the effect lasts'],
])('%o', (of, outcome, undo) => {
  expect(texts([step(of)])).toEqual([['set', 'Recorded before the action', outcome, undo]]);
});

test('an undo that failed is tried again', () => {
  const steps = [
    step({ outcome: 2n, result: 'succeeded', undoneBy: 2 }),
    step({ number: 2, action: 'restore', undoes: 1, state: 'failed', outcome: 4n, result: 'failed' }),
  ];
  expect(texts(steps)[0]?.[3]).toBe('Failed. It is tried again');
});

test('an entry about a whole action has no intent, and an undo of an unknown step is a step', () => {
  const whole = step({ number: 0, outcome: 2n, result: 'succeeded', lapses: true });
  Reflect.deleteProperty(whole, 'intent');
  const stray = step({ number: 5, action: 'restore', outcome: 9n, result: 'succeeded' });
  expect(texts([whole, stray]).map(([action, intent]) => [action, intent])).toEqual([
    ['set', 'Not recorded: the entry is about the whole action'],
    ['restore', 'Recorded before the action'],
  ]);
});

test('times that are missing or out of order have no distance', () => {
  const [early, late] = [timestampFromMs(1000), timestampFromMs(1800)];
  expect(secondsBetween(early, late)).toBe(0.8);
  expect(secondsBetween(late, early)).toBeUndefined();
  expect(secondsBetween(undefined, late)).toBeUndefined();
});

test('the reason stands without the digests of the images', () => {
  const images = `target flag/a, from sha256:${'0'.repeat(64)} to sha256:${'1'.repeat(64)}`;
  expect(reasonIn(images)).toBe('');
  expect(reasonIn(`${images}: confirmed`)).toBe('');
  expect(reasonIn(`${images}: kept, the target has another state`)).toBe('the target has another state');
  expect(reasonIn(`${images}, approved by entry 7: confirmed`)).toBe('approved by entry 7');
  expect(reasonIn('by hand')).toBe('by hand');
});
