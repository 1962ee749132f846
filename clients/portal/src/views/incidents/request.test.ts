import { toJson } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { TriageActionSchema } from '../../gen/muniment/v1/kinds_pb';
import { noticeOf, requestOf } from './request';

const incident = { id: 'P1-surge/016a05057c41-3', playbook: 'P1-surge' };
const now = new Date('2026-11-01T12:00:40Z');
const json = (...args: Parameters<typeof requestOf>) => toJson(TriageActionSchema, requestOf(...args));

const bytes = (document: object) => new TextEncoder().encode(JSON.stringify(document));
const notice = {
  incident: incident.id,
  action: 'request-approval',
  parameters: {
    place: 2,
    action: 'flush',
    target: 'cache/a',
    parameters: { burst: 400 },
    until: '2026-11-01T13:00:00Z',
  },
};

test('an approval has the members of docs/spec/triage.md, section 9', () => {
  const leafHash = 'ab'.repeat(32);
  expect(json(incident, 'approve', 'oidc:i#ada', ' tested ', now, { leafHash, place: 2 })).toEqual({
    incident: incident.id,
    playbook: incident.playbook,
    action: 'approve',
    parameters: { request: leafHash, place: 2 },
    result: 'succeeded',
    detail: 'tested',
    irreversible: true,
    actor: 'oidc:i#ada',
    started: '2026-11-01T12:00:40Z',
  });
});

test('other requests have no parameters, and a reason only if there is one', () => {
  const asked = { leafHash: 'ab'.repeat(32), place: 2 };
  for (const action of ['undo', 'misfire', 'release'] as const) {
    const request = json(incident, action, 'oidc:i#ada', '', now, asked);
    expect(request).not.toHaveProperty('parameters');
    expect(request).not.toHaveProperty('detail');
  }
});

test('the kill switch is about all incidents', () => {
  for (const action of ['kill', 'unkill'] as const)
    expect(json(incident, action, 'oidc:i#ada', 'change freeze', now)).toEqual({
      incident: '*',
      playbook: '*',
      action,
      result: 'succeeded',
      detail: 'change freeze',
      irreversible: true,
      actor: 'oidc:i#ada',
      started: '2026-11-01T12:00:40Z',
    });
});

test('a notice is read if it is about the incident, and has a place', () => {
  expect(noticeOf(bytes(notice), incident.id)?.parameters).toMatchObject({ place: 2, action: 'flush' });
  expect(noticeOf(bytes(notice), 'P1-surge/016a05057c41-4')).toBeUndefined();
  expect(noticeOf(bytes({ ...notice, action: 'escalate' }), incident.id)).toBeUndefined();
  for (const place of [0, 1.5, 'x', 1025, null])
    expect(noticeOf(bytes({ ...notice, parameters: { ...notice.parameters, place } }), incident.id)).toBeUndefined();
  expect(noticeOf(new Uint8Array([0xff]), incident.id)).toBeUndefined();
});
