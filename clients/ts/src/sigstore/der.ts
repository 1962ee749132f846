/** Writes DER. */

import { concat } from '../bytes.js';

/** Returns the DER of a value with a tag and content. */
export function tlv(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const content = concat(...parts);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256);
  const head = content.length < 0x80 ? [content.length] : [0x80 | length.length, ...length];
  return concat(Uint8Array.of(tag, ...head), content);
}
