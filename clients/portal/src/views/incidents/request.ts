/**
 * The requests of persons to the executor, as docs/spec/triage.md, section 9,
 * specifies them.
 */

import { create, type JsonObject } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import * as v from 'valibot';
import { TriageActionSchema, type TriageAction } from '../../gen/muniment/v1/kinds_pb';
import { parsePayload } from '../../records/payload';

export const ACTIONS = ['approve', 'reject', 'undo', 'misfire', 'release', 'kill', 'unkill'] as const;
export type Action = (typeof ACTIONS)[number];
export const isAction = (text: string): text is Action => (ACTIONS as readonly string[]).includes(text);

/** Whether an action answers a notice. */
export const isAnswer = (action: Action): boolean => action === 'approve' || action === 'reject';

/** The incident and the playbook of requests that are about none. */
const all = { id: '*', playbook: '*' };

/** Whether an action is about all incidents. */
const isAboutAll = (action: Action): boolean => action === 'kill' || action === 'unkill';

const text = v.pipe(v.string(), v.maxLength(4096));

const Notice = v.object({
  incident: text,
  action: v.literal('request-approval'),
  detail: v.optional(text, ''),
  parameters: v.object({
    place: v.pipe(v.union([v.number(), v.string()]), v.transform(Number), v.integer(), v.minValue(1), v.maxValue(1024)),
    action: text,
    target: v.optional(text, ''),
    parameters: v.optional(v.record(text, v.union([text, v.number(), v.boolean()])), {}),
  }),
});

/** The notice of a step that waits for a person. */
export type Notice = v.InferOutput<typeof Notice>;

/** Reads the payload of a notice. Undefined: it is none about the incident. */
export function noticeOf(payload: Uint8Array, incident: string): Notice | undefined {
  const notice = parsePayload(payload, Notice);
  return notice?.incident === incident ? notice : undefined;
}

/** A notice that this browser has verified. */
export interface Asked {
  leafHash: string;
  place: number;
}

/**
 * Returns the request of a person.
 *
 * @param asked the notice that an approval or a rejection answers
 */
export function requestOf(
  incident: { id: string; playbook: string },
  action: Action,
  person: string,
  reason: string,
  now: Date,
  asked?: Asked,
): TriageAction {
  const { id, playbook } = isAboutAll(action) ? all : incident;
  const parameters: JsonObject | undefined =
    isAnswer(action) && asked !== undefined ? { request: asked.leafHash, place: asked.place } : undefined;
  return create(TriageActionSchema, {
    incident: id,
    playbook,
    action,
    ...(parameters && { parameters }),
    result: 'succeeded',
    irreversible: true,
    ...(reason.trim() !== '' && { detail: reason.trim() }),
    actor: person,
    started: timestampFromDate(now),
  });
}
