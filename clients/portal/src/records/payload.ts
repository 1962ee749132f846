/** Payloads of entries, which are JSON of unknown origin. */

import * as v from 'valibot';

/** Reads a payload. Undefined: it does not have the form of the schema. */
export function parsePayload<Schema extends v.GenericSchema>(
  payload: Uint8Array,
  schema: Schema,
): v.InferOutput<Schema> | undefined {
  try {
    const found = v.safeParse(schema, JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload)));
    return found.success ? found.output : undefined;
  } catch {
    return undefined;
  }
}
