/** File names in arguments, in the bytes that the user passed. */

import { readFileSync } from 'node:fs';
import type { File } from './files.js';

const replacement = '\ufffd';

/**
 * The bytes of arguments. Node decodes arguments as UTF-8, which loses file
 * names that are not UTF-8. On Linux, /proc has the original bytes. Other
 * systems do not have such names.
 */
export class Octets {
  private readonly items: Buffer[];

  constructor(private readonly args: readonly string[]) {
    this.items = args.some((arg) => arg.includes(replacement)) ? commandLine().slice(-args.length) : [];
  }

  /** Returns the file that an argument, or the value after `--flag=`, names. */
  file(index: number, value: string): File {
    const arg = this.args[index] ?? '';
    const item = this.items[index];
    if (!value.includes(replacement) || item?.toString() !== arg || !arg.endsWith(value))
      return { name: value, path: value };
    // The text before the value is ASCII, with one byte per character.
    const path = item.subarray(arg.length - value.length);
    return { name: decode(path), path };
  }
}

/**
 * Returns the arguments of this process as bytes, or none if the system does
 * not provide them.
 */
function commandLine(): Buffer[] {
  try {
    return split(readFileSync('/proc/self/cmdline'));
  } catch {
    return [];
  }
}

/** Splits a command line whose items end with a zero byte. */
function split(raw: Buffer): Buffer[] {
  const items: Buffer[] = [];
  for (let at = 0; at < raw.length;) {
    const end = raw.indexOf(0, at);
    items.push(raw.subarray(at, end < 0 ? raw.length : end));
    at = end < 0 ? raw.length : end + 1;
  }
  return items;
}

/**
 * Decodes a name, with U+FFFD in place of each byte that is not part of valid
 * UTF-8.
 */
function decode(octets: Buffer): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const characterAt = (at: number): [string, number] => {
    for (let length = 1; length <= 4 && at + length <= octets.length; length++)
      try {
        return [decoder.decode(octets.subarray(at, at + length)), length];
      } catch {
        continue;
      }
    return [replacement, 1];
  };
  let text = '';
  for (let at = 0; at < octets.length;) {
    const [character, length] = characterAt(at);
    text += character;
    at += length;
  }
  return text;
}
