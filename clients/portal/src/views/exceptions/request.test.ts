import { create, toJson } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { ControlSchema, ExceptionRequestSchema } from '../../gen/muniment/v1/kinds_pb';
import { toLocalInput } from '../../records/localTime';
import { approversOf, fieldOf, linesOf, longest, newDraft, problemsOf, requestOf, type Draft } from './request';

const now = new Date('2026-11-29T12:00:00Z');
const digest = `sha256:${'ab'.repeat(32)}`;
const valid: Draft = {
  ...newDraft({ control: 'CHART-SIGNED', artifact: digest }, now),
  reason: 'the build host is replaced',
};

test('a new draft proposes an ID and an end, and lacks the rest', () => {
  expect(newDraft({}, now).id).toMatch(/^EXC-2026-11-29-[0-9a-f]{4}$/u);
  expect(Object.keys(problemsOf(newDraft({}, now), now)).sort()).toEqual(['artifacts', 'control', 'reason']);
  expect(problemsOf(valid, now)).toEqual({});
});

test.each<[Partial<Draft>, keyof Draft]>([
  [{ id: '' }, 'id'],
  [{ id: '-x' }, 'id'],
  [{ id: 'a b' }, 'id'],
  [{ id: 'x'.repeat(129) }, 'id'],
  [{ control: '' }, 'control'],
  [{ artifacts: 'abc' }, 'artifacts'],
  [{ artifacts: 'sha256:' }, 'artifacts'],
  [{ artifacts: '', names: ' \n ' }, 'artifacts'],
  [{ names: Array.from({ length: 257 }, (_, i) => `n${i}`).join('\n') }, 'names'],
  [{ findings: 'é'.repeat(129) }, 'findings'],
  [{ environments: 'x'.repeat(257) }, 'environments'],
  [{ until: '' }, 'until'],
  [{ until: toLocalInput(new Date(now.getTime() - 60_000)) }, 'until'],
  [{ reason: ' \n' }, 'reason'],
])('%j is not valid', (part, field) => {
  expect(Object.keys(problemsOf({ ...valid, ...part }, now))).toEqual([field]);
});

test('the request has each line once', () => {
  expect(linesOf(' a\n\nb \r\na')).toEqual(['a', 'b']);
  const request = requestOf({
    ...valid,
    names: 'legacy-*\nlegacy-*',
    environments: 'production',
    findings: 'CVE-2026-1',
  });
  expect(toJson(ExceptionRequestSchema, request)).toMatchObject({
    control: 'CHART-SIGNED',
    findings: ['CVE-2026-1'],
    scope: {
      subjects: [{ digest: { sha256: 'ab'.repeat(32) } }],
      globs: ['legacy-*'],
      environments: ['production'],
    },
    reason: 'the build host is replaced',
  });
});

test('a control limits exceptions, by default to 30 days and one approver', () => {
  expect([longest(undefined), approversOf(undefined)]).toEqual([30, 1]);
  const control = create(ControlSchema, {
    exceptions: { maxDays: 0, approvers: 2 },
  });
  expect([longest(control), approversOf(control)]).toEqual([0, 2]);
});

test.each([
  ['id', 'id'],
  ['expires', 'until'],
  ['scope.globs[3]', 'names'],
  ['scope.subjects[0].digest', 'artifacts'],
  ['scope', 'artifacts'],
  ['findings[1]', 'findings'],
  ['expiresx', undefined],
  ['', undefined],
])('%j is about the field %j', (path, field) => {
  expect(fieldOf(path)).toBe(field);
});
