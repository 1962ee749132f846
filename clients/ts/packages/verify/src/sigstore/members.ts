/**
 * Members of JSON documents (sigstore-verification.md, section 2). The
 * functions throw FormatError. A member that is null counts as absent.
 */

import { fromBase64 } from '../bytes.js';
import { FormatError } from '../errors.js';
import { parseInteger, quote, type Json } from '../json.js';

/** The members of an object that are not null. */
export type Fields = Map<string, Json>;

/** Returns the members of an object. Others than the names are an error, if there are names. */
export function fields(value: Json | undefined, where: string, ...names: string[]): Fields {
  if (!(value instanceof Map)) throw new FormatError(`${where}: must be an object`);
  for (const name of value.keys())
    if (names.length > 0 && !names.includes(name)) throw new FormatError(`${where}: unknown member ${quote(name)}`);
  return new Map([...value].filter(([, item]) => item !== null));
}

/** Returns the elements of an array, which can be absent. */
export function items(value: Json | undefined, where: string, most: number): Json[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new FormatError(`${where}: must be an array`);
  if (value.length > most) throw new FormatError(`${where}: more than ${most} elements`);
  return value;
}

/** Returns the only element of an array of objects. */
export function only(value: Json | undefined, where: string, ...names: string[]): Fields {
  const elements = items(value, where, 1);
  if (elements.length !== 1) throw new FormatError(`${where}: must be exactly one`);
  return fields(elements[0], where, ...names);
}

/** Returns a string that is not empty. */
export function text(value: Json | undefined, where: string): string {
  if (typeof value !== 'string' || value === '') throw new FormatError(`${where}: must be a string that is not empty`);
  return value;
}

/** Returns a string that can be absent or empty. */
export function optionalText(value: Json | undefined, where: string): string {
  if (value === undefined) return '';
  if (typeof value !== 'string') throw new FormatError(`${where}: must be a string`);
  return value;
}

/** Returns the bytes of a base64 string that is not empty. */
export function binary(value: Json | undefined, where: string): Uint8Array {
  const bytes = fromBase64(text(value, where));
  if (bytes === undefined) throw new FormatError(`${where}: not standard base64 with padding`);
  return bytes;
}

/** Returns the bytes of a base64 string if they are 32. */
export function hash(value: Json | undefined, where: string): Uint8Array {
  const bytes = binary(value, where);
  if (bytes.length !== 32) throw new FormatError(`${where}: must be 32 bytes`);
  return bytes;
}

/** Returns an integer, also from its decimal digits, and 0 if it is absent. */
export function integer(value: Json | undefined, where: string): number {
  if (value === undefined) return 0;
  const number = typeof value === 'string' ? parseInteger(value) : value;
  if (typeof number !== 'number') throw new FormatError(`${where}: must be an integer from 0 to 2^53-1`);
  return number;
}
