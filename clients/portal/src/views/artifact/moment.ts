/** The moment of a decision in a URL: a tree size, or a time in RFC 3339. */

import { timestampFromDate, type Timestamp } from '@bufbuild/protobuf/wkt';

export type Moment = { case: 'treeSize'; value: bigint } | { case: 'time'; value: Timestamp };

const maxSize = 2n ** 63n;

/** Reads a moment. Other texts are undefined, which stands for now. */
export function readMoment(text: string | undefined): Moment | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,18}$/u.test(text)) {
    const value = BigInt(text);
    return value < maxSize ? { case: 'treeSize', value } : undefined;
  }
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/u.test(text)) return undefined;
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? undefined : { case: 'time', value: timestampFromDate(date) };
}
