/** What the views of incidents share. */

import { Link } from '@tanstack/react-router';
import { Text } from '../../records';
import { formatDuration, Status, type Tone } from '../../ui';

const states: Readonly<Record<string, readonly [Tone, string]>> = {
  waiting: ['warn', 'Waiting for a person'],
  acting: ['pending', 'Acting'],
  settling: ['info', 'Settling'],
  escalated: ['bad', 'Escalated'],
  undoing: ['pending', 'Undoing'],
  closed: ['neutral', 'Closed'],
};

/** The state of an incident, as docs/spec/triage.md, section 7, names it. */
export const IncidentState = ({ of }: { of: string }) => <StateOf of={of} table={states} />;

const stepStates: Readonly<Record<string, readonly [Tone, string]>> = {
  intended: ['pending', 'Begun'],
  confirmed: ['good', 'In effect'],
  lapsing: ['good', 'Succeeded'],
  failed: ['bad', 'Failed'],
  skipped: ['neutral', 'Skipped'],
  kept: ['info', 'Kept'],
  undoing: ['pending', 'Undoing'],
  undone: ['neutral', 'Undone'],
};

/** The state of a step, after its undo. */
export const StepState = ({ of: { state, lapses } }: { of: { state: string; lapses: boolean } }) => (
  <StateOf of={state === 'confirmed' && lapses ? 'lapsing' : state} table={stepStates} />
);

function StateOf({ of, table }: { of: string; table: Readonly<Record<string, readonly [Tone, string]>> }) {
  const [tone, word] = (Object.hasOwn(table, of) && table[of]) || (['neutral', of] as const);
  return (
    <Status tone={tone}>
      <Text>{word}</Text>
    </Status>
  );
}

/** An incident, by its number, or by its ID if it has another form. */
export const IncidentLink = ({ of: { id, key, number } }: { of: { id: string; key: string; number: bigint } }) => (
  <Link to="/incidents/$id" params={{ id }} title={id}>
    {key === '' ? (
      <Text>{id}</Text>
    ) : (
      <code>
        {key}-{String(number)}
      </code>
    )}
  </Link>
);

/** A short time, such as that to the first action: 0.8 s. */
export const seconds = (value: number): string => (value < 10 ? `${value.toFixed(1)} s` : formatDuration(value));
