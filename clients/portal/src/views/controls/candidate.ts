/** A control set with other modes of one control, for a replay. */

import { clone, create, toJsonString } from '@bufbuild/protobuf';
import {
  ControlModeSchema,
  ControlReferenceSchema,
  ControlSchema,
  ControlSetSchema,
  type Control,
  type ControlSet,
} from '../../gen/muniment/v1/kinds_pb';

/** What the control does at a stage in the candidate. */
export const MODES = ['same', 'enforce', 'warn', 'off'] as const;
export type Mode = (typeof MODES)[number];

export interface Candidate {
  controlSet: Uint8Array<ArrayBuffer>;
  controls: Uint8Array<ArrayBuffer>[];
}

/** Returns the control with other modes at stages. "off" does not evaluate it there. */
export function withModes(control: Control, modes: Readonly<Record<string, Mode>>): Control {
  const changed = clone(ControlSchema, control);
  const kept = changed.modes.filter(({ stage }) => (modes[stage] ?? 'same') === 'same');
  const added = Object.entries(modes)
    .filter(([, mode]) => mode === 'enforce' || mode === 'warn')
    .map(([stage, mode]) => create(ControlModeSchema, { stage, mode }));
  changed.modes = [...kept, ...added];
  return changed;
}

async function digestOf(payload: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', payload));
  return `sha256:${Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/**
 * Returns the payloads of a control set in which one control has other modes.
 * A control without modes is not in the set.
 */
export async function candidateOf(
  set: ControlSet,
  controls: readonly Control[],
  id: string,
  modes: Readonly<Record<string, Mode>>,
): Promise<Candidate> {
  const encoder = new TextEncoder();
  const changed = controls
    .map((control) => (control.id === id ? withModes(control, modes) : control))
    .filter((control) => control.modes.length > 0);
  const payloads = changed.map((control) => encoder.encode(toJsonString(ControlSchema, control)));
  const candidate = clone(ControlSetSchema, set);
  candidate.controls = await Promise.all(
    changed.map(async (control, i) =>
      create(ControlReferenceSchema, {
        id: control.id,
        digest: await digestOf(payloads[i] ?? new Uint8Array()),
      }),
    ),
  );
  return {
    controlSet: encoder.encode(toJsonString(ControlSetSchema, candidate)),
    controls: payloads,
  };
}
