/** Writes and checks DER. */

import { concat, utf8Text } from '../bytes.js';

/** Returns the DER of a value with a tag and content. */
export function tlv(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const content = concat(...parts);
  const length: number[] = [];
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256);
  const head = content.length < 0x80 ? [content.length] : [0x80 | length.length, ...length];
  return concat(Uint8Array.of(tag, ...head), content);
}

/**
 * Reports whether bytes are one value of DER, without data after it. The
 * parsers accept more than DER.
 */
export function isDer(data: Uint8Array): boolean {
  return endOfValue(data, 0, data.length, 0) === data.length;
}

const maxDepth = 32;
const sequence = 0x30;
const set = 0x31;

/** Returns the end of the value at an offset, undefined if it is not DER. */
function endOfValue(data: Uint8Array, at: number, limit: number, depth: number): number | undefined {
  const tag = data[at] ?? 0;
  let start = at + 2;
  let length = data[at + 1] ?? 0x80;
  if (length >= 0x80) {
    const size = length - 0x80;
    start += size;
    length = data.subarray(at + 2, start).reduce((value, byte) => value * 256 + byte, 0);
    if (size === 0 || size > 4 || length < 0x80 || data[at + 2] === 0) return undefined;
  }
  const end = start + length;
  if (end > limit || depth > maxDepth || (tag & 0x1f) === 0x1f) return undefined;
  const isUniversal = tag < 0x40;
  if (isUniversal && tag !== sequence && tag !== set)
    return isPrimitive(tag, data.subarray(start, end)) ? end : undefined;
  if (!isUniversal && (tag & 0xc0) !== 0x80) return undefined;
  if ((tag & 0x20) === 0) return end;
  for (let next = start; next < end;) {
    const after = endOfValue(data, next, end, depth + 1);
    if (after === undefined) return undefined;
    next = after;
  }
  return end;
}

function isPrimitive(tag: number, content: Uint8Array): boolean {
  const text = String.fromCharCode(...content.subarray(0, 4096));
  switch (tag) {
    case 0x01: // BOOLEAN
      return content.length === 1 && (content[0] === 0 || content[0] === 0xff);
    case 0x02: // INTEGER
      return isInteger(content);
    case 0x03: // BIT STRING
      return isBitString(content);
    case 0x05: // NULL
      return content.length === 0;
    case 0x0c: // UTF8String
      return isUtf8(content);
    case 0x13: // PrintableString
      return /^[A-Za-z0-9 '()+,\-./:=?*&]*$/.test(text);
    case 0x16: // IA5String
      return content.every((byte) => byte < 0x80);
    case 0x17: // UTCTime
      return isTime(/^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text));
    case 0x18: // GeneralizedTime
      return isTime(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.\d*[1-9])?Z$/.exec(text));
    default: // OCTET STRING, OBJECT IDENTIFIER, other strings
      return (tag & 0x20) === 0;
  }
}

function isInteger(content: Uint8Array): boolean {
  const [first = 0, second = 0] = content;
  if (content.length < 2) return content.length === 1;
  return !((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
}

/** Reports whether the unused bits, whose number comes first, are zero. */
function isBitString(content: Uint8Array): boolean {
  const [unused = 8] = content;
  const last = content.length > 1 ? (content.at(-1) ?? 0) : 0;
  return unused < (content.length > 1 ? 8 : 1) && (last & ((1 << unused) - 1)) === 0;
}

function isUtf8(content: Uint8Array): boolean {
  try {
    utf8Text(content);
    return true;
  } catch {
    return false;
  }
}

function isTime(match: RegExpExecArray | null): boolean {
  if (match === null) return false;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  const time = new Date(Date.UTC(year < 100 ? 2000 + year : year, month - 1, day, hour, minute, second));
  return time.getUTCDate() === day && time.getUTCMonth() === month - 1 && hour < 24 && minute < 60 && second < 60;
}
