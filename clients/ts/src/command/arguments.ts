/** Arguments that are names of files, in the octets that the user gave. */

import { readFileSync } from 'node:fs';
import type { File } from './files.js';

const replacement = '\ufffd';

/**
 * The octets of arguments. Node decodes arguments as UTF-8, and so loses names that are not UTF-8. Linux keeps the
 * octets; other systems of today have no such names.
 */
export class Octets {
  private readonly items: Buffer[];

  constructor(private readonly args: readonly string[]) {
    this.items = args.some((arg) => arg.includes(replacement)) ? commandLine().slice(-args.length) : [];
  }

  /** The file that an argument, or its end after `--flag=`, names. */
  file(index: number, value: string): File {
    const arg = this.args[index] ?? '';
    const item = this.items[index];
    if (!value.includes(replacement) || item?.toString() !== arg || !arg.endsWith(value))
      return { name: value, path: value };
    // What is in front of the value is ASCII: as many octets as characters.
    const path = item.subarray(arg.length - value.length);
    return { name: decode(path), path };
  }
}

/** The arguments of this process in octets; none where the system does not provide them. */
function commandLine(): Buffer[] {
  try {
    return split(readFileSync('/proc/self/cmdline'));
  } catch {
    return [];
  }
}

/** The items of a command line, each ended by a zero octet. */
function split(raw: Buffer): Buffer[] {
  const items: Buffer[] = [];
  for (let at = 0; at < raw.length;) {
    const end = raw.indexOf(0, at);
    items.push(raw.subarray(at, end < 0 ? raw.length : end));
    at = end < 0 ? raw.length : end + 1;
  }
  return items;
}

/** The text of a name, with U+FFFD for each octet that is not part of valid UTF-8. */
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
