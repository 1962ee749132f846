/** The steps of backfills, as the headers of their entries have them. */

import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { Entry } from '../../gen/muniment/v1/ledger_pb';
import { digestOf } from '../../records/text';

/** An entry of kind backfill-step. */
export interface Step {
  index: bigint;
  /** When the log recorded it. */
  time: Timestamp | undefined;
  job: { name: string; digest: string };
  entity: string;
  run: string;
  step: string;
  phase: string;
  /** Of an outcome. */
  result: string;
  actor: string;
  /** Of the step checkpoint, such as 50%. */
  checkpoint: string;
  /** Of a checkpoint that succeeded. */
  score: number | undefined;
  verdict: string;
  /** Rows that differ, of validations and rehearsals. */
  differences: number | undefined;
  /** Until when a rehearsal counts. */
  expires: string;
}

const numberOf = (text: string | undefined): number | undefined => {
  const value = Number(text);
  return text === undefined || text === '' || Number.isNaN(value) ? undefined : value;
};

/** Reads the header of a step. Undefined: it was erased. */
export function stepOf({ index, time, subjects, attributes }: Entry): Step | undefined {
  const of = (name: string): string => (Object.hasOwn(attributes, name) ? (attributes[name] ?? '') : '');
  const job = subjects[0];
  if (job === undefined || of('step') === '') return undefined;
  return {
    index,
    time,
    job: { name: job.name, digest: digestOf(job.digest) },
    entity: of('entity'),
    run: of('run'),
    step: of('step'),
    phase: of('phase'),
    result: of('result'),
    actor: of('actor'),
    checkpoint: of('checkpoint'),
    score: numberOf(of('acaScore')),
    verdict: of('verdict'),
    differences: numberOf(of('differences')),
    expires: of('expires'),
  };
}

/** Returns the percentage of a checkpoint, from 0 to 100. */
export const percentOf = (checkpoint: string): number => numberOf(checkpoint.replace(/%$/u, '')) ?? 0;

/** The phases of docs/spec/backfill.md, section 5, as the evidence shows them. */
export type State = 'planned' | 'copying' | 'paused' | 'copied' | 'cutover' | 'rolled-back' | 'finished';

const states = new Map<string, State>([
  ['plan', 'planned'],
  ['start', 'copying'],
  ['pause', 'paused'],
  ['resume', 'copying'],
  ['cutover', 'cutover'],
  ['rollback', 'rolled-back'],
  ['finish', 'finished'],
]);

/**
 * Returns the state after some steps.
 *
 * @param steps the oldest first
 */
export function stateOf(steps: readonly Step[]): State {
  let state: State = 'planned';
  for (const { step, phase, result, checkpoint } of steps) {
    if (phase !== 'outcome' || result !== 'succeeded') continue;
    if (step === 'checkpoint')
      state = percentOf(checkpoint) >= 100 ? 'copied' : state === 'planned' ? 'copying' : state;
    else state = states.get(step) ?? state;
  }
  return state;
}

/** A job, by the steps of its newest run. */
export interface Job {
  name: string;
  digest: string;
  entity: string;
  run: string;
  state: State;
  /** The steps of the run, the oldest first. */
  steps: Step[];
  /** The newest judged checkpoint. */
  checkpoint: Step | undefined;
  /** All runs of the file, the newest first. */
  runs: string[];
}

/**
 * Groups steps by the file of their job. Jobs come in the order of their newest
 * steps.
 *
 * @param newest the newest step first
 */
export function jobsOf(newest: readonly Step[]): Job[] {
  const jobs = new Map<string, Step[]>();
  for (const step of newest) {
    const of = jobs.get(step.job.digest);
    if (of === undefined) jobs.set(step.job.digest, [step]);
    else of.push(step);
  }
  return [...jobs.values()].flatMap((of) => jobOf(of) ?? []);
}

/**
 * Returns the job that steps are about.
 *
 * @param newest steps of one file, the newest first
 * @param run selects one. By default it is the newest
 */
export function jobOf(newest: readonly Step[], run = newest[0]?.run): Job | undefined {
  const steps = newest.filter((step) => step.run === run).reverse();
  const last = steps.at(-1);
  if (last === undefined) return undefined;
  return {
    name: last.job.name,
    digest: last.job.digest,
    entity: last.entity,
    run: last.run,
    state: stateOf(steps),
    steps,
    checkpoint: judged(steps).at(-1),
    runs: [...new Set(newest.map((step) => step.run))],
  };
}

/** Returns the checkpoints that were judged. */
export const judged = (steps: readonly Step[]): Step[] =>
  steps.filter(({ step, score }) => step === 'checkpoint' && score !== undefined);

/** Returns the newest outcome of a step, or undefined if there is none. */
export const outcomeOf = (steps: readonly Step[], name: string): Step | undefined =>
  steps.findLast(({ step, phase }) => step === name && phase === 'outcome');

/** A step with both of its entries. */
export interface Stage {
  intent: Step | undefined;
  outcome: Step | undefined;
}

/**
 * Pairs the outcomes with their intents, in the order of the intents.
 *
 * @param steps the oldest first
 */
export function stagesOf(steps: readonly Step[]): Stage[] {
  const stages: Stage[] = [];
  for (const step of steps) {
    const open =
      step.phase === 'outcome'
        ? stages.findLast(
            ({ intent, outcome }) =>
              outcome === undefined && intent?.step === step.step && intent.checkpoint === step.checkpoint,
          )
        : undefined;
    if (open !== undefined) open.outcome = step;
    else if (step.phase === 'outcome') stages.push({ intent: undefined, outcome: step });
    else stages.push({ intent: step, outcome: undefined });
  }
  return stages;
}

/** An entry of kind backfill-checkpoint. */
export interface Progress {
  index: bigint;
  checkpoint: string;
  rollbackReady: boolean;
}

/** Reads the header of a checkpoint. Undefined: it was erased. */
export function progressOf({ index, attributes }: Entry): Progress | undefined {
  const checkpoint = Object.hasOwn(attributes, 'checkpoint') ? attributes['checkpoint'] : undefined;
  if (checkpoint === undefined) return undefined;
  return { index, checkpoint, rollbackReady: attributes['rollbackReady'] === 'true' };
}

/**
 * Returns the checkpoint's own entry, which precedes its outcome and follows
 * the intent.
 */
export const progressAt = (outcome: Step, all: readonly Progress[]): Progress | undefined =>
  all
    .filter(({ index, checkpoint }) => index < outcome.index && checkpoint === outcome.checkpoint)
    .reduce<Progress | undefined>(
      (best, one) => (best === undefined || one.index > best.index ? one : best),
      undefined,
    );
