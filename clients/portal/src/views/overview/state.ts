/** What the numbers of the overview mean. */

import type { LogHealth, OverviewDecisions, OverviewVerification } from '../../gen/muniment/v1/portal_pb';
import { count } from '../../records/text';
import type { Tone } from '../../ui/Status';

/** The beginning of the day in the zone of the browser, in milliseconds since 1970. */
export const beginningOfDay = (now: number): number => new Date(now).setHours(0, 0, 0, 0);

/** Returns a part of a whole from 0 to 1, or undefined for a part of nothing. */
export const shareOf = (part: bigint, whole: bigint): number | undefined =>
  whole === 0n ? undefined : Number(part) / Number(whole);

/** Something about the log that needs attention. */
export interface LogProblem {
  tone: Tone;
  text: string;
}

/** Returns what is wrong with the log, the worst first. */
export function problemsOf(log: LogHealth): LogProblem[] {
  const problems: LogProblem[] = [];
  const add = (tone: Tone, text: string) => problems.push({ tone, text });
  if (log.diskFull) add('bad', 'The disk is full: appends are refused');
  else if (!log.ready && !log.replica) add('bad', `Appends are refused${log.reason === '' ? '' : `: ${log.reason}`}`);
  if (log.witnessesRequired && (log.witnessedSize ?? 0n) < log.treeSize)
    add(
      'warn',
      `${count(log.treeSize - (log.witnessedSize ?? 0n), 'entry', 'entries')} without the quorum of witnesses`,
    );
  for (const { name, lag } of log.witnesses)
    if (lag > 0n) add('warn', `Witness ${name} is ${count(lag, 'entry', 'entries')} behind`);
  for (const { name, failures, lag } of log.anchors)
    if (failures > 0n && lag > 0n)
      add('warn', `Anchor ${name} failed, and is ${count(lag, 'entry', 'entries')} behind`);
  return problems;
}

/** The decisions of all stages. */
export function totalsOf({ stages }: Pick<OverviewDecisions, 'stages'>) {
  const sum = { passed: 0n, blocked: 0n, undecided: 0n };
  for (const stage of stages) {
    sum.passed += stage.passed;
    sum.blocked += stage.blocked;
    sum.undecided += stage.undecided;
  }
  return { ...sum, all: sum.passed + sum.blocked + sum.undecided };
}

/** The reports of all verifiers. */
export function reportsOf({ verifiers }: Pick<OverviewVerification, 'verifiers'>) {
  let [verified, all] = [0n, 0n];
  for (const one of verifiers) {
    verified += one.verified;
    all += one.verified + one.notVerified + one.errors;
  }
  return { verified, all };
}

/** The filter of the exceptions that contains a state. */
export function filterOf(state: string): 'waiting' | 'in-force' | 'ended' {
  if (state === 'requested' || state === 'break-glass') return 'waiting';
  return state === 'approved' ? 'in-force' : 'ended';
}
