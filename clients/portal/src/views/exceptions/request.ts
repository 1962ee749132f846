/** The request for an exception, from the fields of its form. */

import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import * as v from 'valibot';
import { ExceptionRequestSchema, type Control, type ExceptionRequest } from '../../gen/muniment/v1/kinds_pb';
import { newKey } from '../../records/refusal';
import { fromLocalInput, toLocalInput } from '../../records/localTime';

export const Draft = v.object({
  id: v.string(),
  control: v.string(),
  findings: v.string(),
  artifacts: v.string(),
  names: v.string(),
  environments: v.string(),
  until: v.string(),
  reason: v.string(),
  /** Under which the log records it once. */
  key: v.string(),
});

export type Draft = v.InferOutput<typeof Draft>;
export type Field = Exclude<keyof Draft, 'key'>;

/** What an address fills in. */
export interface Prefill {
  control?: string | undefined;
  finding?: string | undefined;
  artifact?: string | undefined;
  name?: string | undefined;
  environment?: string | undefined;
}

const day = 86_400_000;

/** Returns the draft that a form begins with. It proposes an ID. */
export function newDraft(fill: Prefill, now: Date): Draft {
  const key = newKey();
  return {
    id: `EXC-${now.toISOString().slice(0, 10)}-${key.slice(0, 4)}`,
    control: fill.control ?? '',
    findings: fill.finding ?? '',
    artifacts: fill.artifact ?? '',
    names: fill.name ?? '',
    environments: fill.environment ?? '',
    until: toLocalInput(new Date(now.getTime() + 7 * day)),
    reason: '',
    key,
  };
}

/** Returns the lines of a field, each once. */
export const linesOf = (text: string): string[] => [
  ...new Set(
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== ''),
  ),
];

const defaultDays = 30;

/** The days that a control allows for an exception. 0: it allows none. */
export const longest = (control: Control | undefined): number => control?.exceptions?.maxDays ?? defaultDays;

/** The people who must approve. */
export const approversOf = (control: Control | undefined): number => control?.exceptions?.approvers ?? 1;

const limits = {
  findings: [256, 256],
  artifacts: [1024, 512],
  names: [256, 1024],
  environments: [64, 256],
} as const;

const digestPattern = /^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}:[^\s:][^\s]*$/u;

/** The problems of a draft that do not need the server, by field. */
export function problemsOf(draft: Draft, now: Date): Partial<Record<Field, string>> {
  const problems: Partial<Record<Field, string>> = {};
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/u.test(draft.id))
    problems.id = 'Use 1 to 128 letters, digits, dots, underscores and hyphens.';
  if (draft.control === '') problems.control = 'Choose a control.';
  for (const [field, [most, length]] of Object.entries(limits) as [keyof typeof limits, readonly [number, number]][]) {
    const lines = linesOf(draft[field]);
    if (lines.length > most) problems[field] = `At most ${most} lines are possible; there are ${lines.length}.`;
    else if (lines.some((line) => new TextEncoder().encode(line).length > length))
      problems[field] = `A line has more than ${length} bytes.`;
  }
  const wrong = linesOf(draft.artifacts).find((line) => !digestPattern.test(line));
  if (wrong !== undefined) problems.artifacts ??= 'Enter digests as algorithm:value, such as sha256:2cf2….';
  if (linesOf(draft.artifacts).length + linesOf(draft.names).length === 0)
    problems.artifacts ??= 'Enter what it covers: digests of artifacts, or patterns of names.';
  const end = fromLocalInput(draft.until);
  if (end === undefined) problems.until = 'Enter a day and a time.';
  else if (end <= now) problems.until = 'Enter a time in the future.';
  if (draft.reason.trim() === '') problems.reason = 'Enter a reason. It is recorded.';
  return problems;
}

/** Returns the request of a draft without problems. */
export function requestOf(draft: Draft): ExceptionRequest {
  const end = fromLocalInput(draft.until);
  return create(ExceptionRequestSchema, {
    id: draft.id,
    control: draft.control,
    findings: linesOf(draft.findings),
    scope: {
      subjects: linesOf(draft.artifacts).map((line) => {
        const at = line.indexOf(':');
        return { digest: { [line.slice(0, at)]: line.slice(at + 1) } };
      }),
      globs: linesOf(draft.names),
      environments: linesOf(draft.environments),
    },
    reason: draft.reason.trim(),
    ...(end && { expires: timestampFromDate(end) }),
  });
}

const fields: readonly (readonly [path: string, field: Field])[] = [
  ['id', 'id'],
  ['control', 'control'],
  ['findings', 'findings'],
  ['scope.subjects', 'artifacts'],
  ['scope.globs', 'names'],
  ['scope.environments', 'environments'],
  ['scope', 'artifacts'],
  ['expires', 'until'],
  ['reason', 'reason'],
];

/** Returns the field of the form that a path of the document is about. */
export const fieldOf = (path: string): Field | undefined =>
  fields.find(([name]) => path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`))?.[1];
