/** What the payloads of steps contain. */

import * as v from 'valibot';
import { parsePayload } from '../../records/payload';

const text = v.pipe(v.string(), v.maxLength(4096));
const amount = v.optional(v.number());

const Check = v.object({
  name: text,
  kind: text,
  required: v.boolean(),
  /** pass, fail or inconclusive. */
  result: text,
  reason: v.optional(text, ''),
  /** With and without the copy. */
  on: amount,
  off: amount,
});

const Report = v.object({
  config: v.object({ threshold: v.number(), pairs: v.optional(v.number(), 0) }),
  results: v.pipe(v.array(Check), v.maxLength(96)),
  summary: v.optional(text, ''),
});

export type Check = v.InferOutput<typeof Check>;
export type Report = v.InferOutput<typeof Report>;

const Change = v.object({ attempts: v.optional(v.number(), 0), held: v.optional(v.number(), 0) });

const Rehearsal = v.object({
  steps: v.pipe(
    v.array(
      v.object({
        name: text,
        change: v.optional(Change, {}),
        load: v.optional(v.object({ transactions: v.optional(v.number(), 0), failed: v.optional(v.number(), 0) }), {}),
        error: v.optional(text, ''),
      }),
    ),
    v.maxLength(16),
  ),
  failures: v.optional(v.pipe(v.array(text), v.maxLength(256)), []),
});

export type Rehearsal = v.InferOutput<typeof Rehearsal>;

/** Reads the report of a checkpoint. Undefined: the payload has none in the form of docs/spec/aca.md. */
export const reportOf = (payload: Uint8Array): Report | undefined =>
  parsePayload(payload, v.object({ report: Report }))?.report;

/** Reads what a rehearsal has done. */
export const rehearsalOf = (payload: Uint8Array): Rehearsal | undefined =>
  parsePayload(payload, v.object({ details: Rehearsal }))?.details;
