/** Parameters of addresses. */

import * as v from 'valibot';

/** A text. The router reads some texts as numbers and booleans. */
export const text = v.fallback(
  v.optional(v.pipe(v.union([v.string(), v.number(), v.boolean()]), v.transform(String), v.maxLength(2048))),
  undefined,
);

/** One of several words. */
export const oneOf = <const Words extends readonly string[]>(words: Words) =>
  v.fallback(v.optional(v.picklist(words)), undefined);

/** The page of a list: its token, and the number of rows before it. */
export const paging = {
  page: text,
  from: v.fallback(v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))), undefined),
};
