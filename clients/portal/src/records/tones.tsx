/** The states of records, with the tone of each. */

import { Status, type Tone } from '../ui/Status';
import { Text } from './Text';

const exceptionStates: Readonly<Record<string, readonly [Tone, string]>> = {
  requested: ['pending', 'Waiting for approval'],
  'break-glass': ['warn', 'In force by break-glass'],
  approved: ['good', 'In force'],
  rejected: ['bad', 'Rejected'],
  revoked: ['neutral', 'Revoked'],
  expired: ['neutral', 'Expired'],
  void: ['bad', 'Void'],
};

const findingStates: Readonly<Record<string, readonly [Tone, string]>> = {
  open: ['warn', 'Open'],
  reopened: ['warn', 'Reopened'],
  'in-progress': ['pending', 'In progress'],
  resolved: ['good', 'Resolved'],
};

const decisions: Readonly<Record<string, readonly [Tone, string]>> = {
  pass: ['good', 'Pass'],
  blocked: ['bad', 'Blocked'],
  undecided: ['warn', 'Undecided'],
};

const results: Readonly<Record<string, readonly [Tone, string]>> = {
  satisfied: ['good', 'Satisfied'],
  'not-satisfied': ['bad', 'Not satisfied'],
  undecided: ['warn', 'Undecided'],
  excepted: ['info', 'Excepted'],
  'not-applicable': ['neutral', 'Does not apply'],
};

const actions: Readonly<Record<string, readonly [Tone, string]>> = {
  succeeded: ['good', 'Succeeded'],
  failed: ['bad', 'Failed'],
  aborted: ['warn', 'Aborted'],
  skipped: ['neutral', 'Skipped'],
  'rolled-back': ['warn', 'Rolled back'],
};

const severities: Readonly<Record<string, Tone>> = {
  critical: 'bad',
  high: 'bad',
  medium: 'warn',
  low: 'info',
};

const verifications: Readonly<Record<string, readonly [Tone, string]>> = {
  verified: ['good', 'Verified'],
  unverified: ['neutral', 'Unsigned'],
  failed: ['bad', 'Failed'],
};

function stateFrom(table: Readonly<Record<string, readonly [Tone, string]>>) {
  return function State({ of }: { of: string }) {
    const [tone, word] = (Object.hasOwn(table, of) && table[of]) || (['neutral', of] as const);
    return (
      <Status tone={tone}>
        <Text>{word}</Text>
      </Status>
    );
  };
}

export const ExceptionState = stateFrom(exceptionStates);
export const FindingState = stateFrom(findingStates);
export const DecisionState = stateFrom(decisions);
export const ResultState = stateFrom(results);
export const ActionState = stateFrom(actions);
export const VerificationState = stateFrom(verifications);

export const Severity = ({ of }: { of: string }) => (
  <Status tone={(Object.hasOwn(severities, of) && severities[of]) || 'neutral'}>
    <Text>{of}</Text>
  </Status>
);
