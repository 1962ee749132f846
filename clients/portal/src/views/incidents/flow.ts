/** The phases of an incident's steps, in the order in which they happen. */

import type { Timestamp } from '@bufbuild/protobuf/wkt';
import type { IncidentRecord, IncidentStep } from '../../gen/muniment/v1/portal_pb';
import { dateOf } from '../../ui/format';
import type { Tone } from '../../ui/Status';

/** A phase of a step: its intent, its outcome, or its undo. */
export interface Phase {
  name: 'Intent' | 'Outcome' | 'Undo';
  tone: Tone;
  text: string;
  /** The entry, if one is recorded. */
  index: bigint | undefined;
  /** When it happened, by the clock of the executor. */
  at: Timestamp | undefined;
}

/** A step with its phases. */
export interface Course {
  step: IncidentStep;
  phases: Phase[];
  /** Attempts to undo it. */
  attempts: number;
}

const outcomes: Readonly<Record<string, readonly [Tone, string]>> = {
  succeeded: ['good', 'The target has the new state'],
  failed: ['bad', 'The target does not have the new state'],
  skipped: ['neutral', 'Not taken'],
  'rolled-back': ['warn', 'Rolled back by the connector'],
};

/** Returns the courses of the steps, without the undo steps themselves. */
export function coursesOf({ steps }: Pick<IncidentRecord, 'steps'>): Course[] {
  return steps
    .filter((step) => !isUndo(step))
    .map((step) => {
      const undo = steps.find(({ number }) => number !== 0 && number === step.undoneBy);
      const attempts = steps.filter(({ undoes }) => undoes !== 0 && undoes === step.number).length;
      return { step, attempts, phases: [intentOf(step), outcomeOf(step), undoOf(step, undo)] };
    });
}

/** An undo whose step is not known is shown as a step. */
const isUndo = ({ undoes }: IncidentStep): boolean => undoes !== 0;

const intentOf = ({ intent, started, withoutLedger }: IncidentStep): Phase => ({
  name: 'Intent',
  tone: intent === undefined ? 'neutral' : 'info',
  text:
    intent === undefined
      ? 'Not recorded: the entry is about the whole action'
      : withoutLedger
        ? 'Spooled and signed, because the ledger did not answer'
        : 'Recorded before the action',
  index: intent,
  at: started,
});

function outcomeOf({ outcome, finished, result }: IncidentStep): Phase {
  if (outcome === undefined)
    return { name: 'Outcome', tone: 'pending', text: 'Not recorded yet', index: undefined, at: undefined };
  const [tone, text] = (Object.hasOwn(outcomes, result) && outcomes[result]) || (['neutral', result] as const);
  return { name: 'Outcome', tone, text, index: outcome, at: finished };
}

function undoOf(step: IncidentStep, undo: IncidentStep | undefined): Phase {
  const base = {
    name: 'Undo' as const,
    index: undo?.outcome ?? undo?.intent,
    at: undo?.finished ?? undo?.started,
  };
  switch (step.state) {
    case 'undone':
      return { ...base, tone: 'good', text: 'The target has its former state' };
    case 'kept':
      return { ...base, tone: 'info', text: 'Kept: somebody else has changed the target since' };
    case 'undoing':
      return { ...base, tone: 'pending', text: 'Begun' };
    case 'confirmed':
      if (step.lapses) return { ...base, tone: 'neutral', text: 'Not needed: the effect lapses by itself' };
      if (undo !== undefined) return { ...base, tone: 'bad', text: 'Failed. It is tried again' };
      return { ...base, tone: 'neutral', text: 'Not yet: the effect lasts' };
    case 'intended':
      return { ...base, tone: 'neutral', text: 'Not yet' };
    default:
      return { ...base, tone: 'neutral', text: 'Nothing to undo' };
  }
}

/** Returns the seconds between two moments, or undefined if one is missing or they are out of order. */
export function secondsBetween(from: Timestamp | undefined, to: Timestamp | undefined): number | undefined {
  const [a, b] = [from && dateOf(from), to && dateOf(to)];
  if (a === undefined || b === undefined || b < a) return undefined;
  return (b.getTime() - a.getTime()) / 1000;
}

const images =
  /^target .+, from sha256:[0-9a-f]{64} to sha256:[0-9a-f]{64}(?:, (approved by entry \d+))?(?:: [a-z]+(?:, (.+))?)?$/su;

/** Returns the reason in the detail of an entry, without the digests of the images. */
export function reasonIn(detail: string): string {
  const found = images.exec(detail);
  return found === null ? detail : found.slice(1).filter(Boolean).join(', ');
}
