/** What the views of backfills share, also with the overview. */

import { Link } from '@tanstack/react-router';
import { ActionState, Text } from '../../records';
import { Status, type Tone } from '../../ui';
import type { State } from './steps';

const states: Readonly<Record<State, readonly [Tone, string]>> = {
  planned: ['neutral', 'Planned'],
  copying: ['pending', 'Copying'],
  paused: ['warn', 'Paused'],
  copied: ['info', 'Copied'],
  cutover: ['good', 'Cut over'],
  'rolled-back': ['warn', 'Rolled back'],
  finished: ['good', 'Finished'],
};

export function JobState({ of }: { of: State }) {
  const [tone, word] = states[of];
  return <Status tone={tone}>{word}</Status>;
}

const verdicts: Readonly<Record<string, readonly [Tone, string]>> = {
  pass: ['good', 'Pass'],
  'below-threshold': ['warn', 'Below the threshold'],
  blocked: ['bad', 'Blocked by a data check'],
};

/** The verdict of a canary analysis. */
export function Verdict({ of }: { of: string }) {
  const [tone, word] = (Object.hasOwn(verdicts, of) && verdicts[of]) || (['neutral', of] as const);
  return (
    <Status tone={tone}>
      <Text>{word}</Text>
    </Status>
  );
}

/** What a step is, and its result. */
export function StepState({ of }: { of: { phase: string; result: string; verdict: string } }) {
  if (of.phase === 'intent') return <Status tone="neutral">Begun</Status>;
  if (of.result === 'succeeded' && of.verdict !== '' && of.verdict !== 'pass') return <Verdict of={of.verdict} />;
  return <ActionState of={of.result} />;
}

/** A job, by the name of its file. */
export const JobLink = ({ digest, children }: { digest: string; children: string }) => (
  <Link to="/backfills/$digest" params={{ digest }} title={digest}>
    <Text>{children}</Text>
  </Link>
);
