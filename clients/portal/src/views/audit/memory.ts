/** The checkpoints that this browser remembers, for each log. */

import * as v from 'valibot';

const Remembered = v.object({
  /** The signed note. */
  note: v.string(),
  /** When the browser got it, in milliseconds since 1970. */
  seen: v.number(),
});

/**
 * - rollback: the server presents a smaller tree than before
 * - fork: the server presents a tree that does not continue an earlier one
 */
const Alarm = v.object({
  kind: v.picklist(['rollback', 'fork']),
  found: v.number(),
  before: v.string(),
  after: v.string(),
  /** The hashes of the consistency proof, in Base64. */
  proof: v.array(v.string()),
});

const Memory = v.object({ checkpoints: v.array(Remembered), alarms: v.array(Alarm) });

export type Remembered = v.InferOutput<typeof Remembered>;
export type Alarm = v.InferOutput<typeof Alarm>;
export type Memory = v.InferOutput<typeof Memory>;

/** Checkpoints that are remembered: the first, and the newest of the others. */
const most = 50;

const keyOf = (origin: string) => `muniment-checkpoints ${origin}`;

/** Returns what the browser remembers of a log. Throws if that is damaged. */
export function recall(origin: string): Memory {
  const text = localStorage.getItem(keyOf(origin));
  return text === null ? { checkpoints: [], alarms: [] } : v.parse(Memory, JSON.parse(text));
}

/** Remembers a checkpoint that continues the others. */
export function withCheckpoint(memory: Memory, checkpoint: Remembered): Memory {
  const { checkpoints } = memory;
  if (checkpoints.at(-1)?.note === checkpoint.note) return memory;
  const all = [...checkpoints, checkpoint];
  const [first] = all;
  const kept = first === undefined || all.length <= most ? all : [first, ...all.slice(1 - most)];
  return { ...memory, checkpoints: kept };
}

/** Keeps an alarm, once. */
export function withAlarm(memory: Memory, alarm: Alarm): Memory {
  const known = memory.alarms.some(({ before, after }) => before === alarm.before && after === alarm.after);
  return known ? memory : { ...memory, alarms: [...memory.alarms, alarm] };
}

/** Stores what is remembered. Throws if the browser forbids it. */
export function remember(origin: string, memory: Memory): void {
  localStorage.setItem(keyOf(origin), JSON.stringify(memory));
}
