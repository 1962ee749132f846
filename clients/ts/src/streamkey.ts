/** The file of a tenant's stream key (receipt.md, section 3). */

import { fromHex } from './bytes.js';
import { OptionError } from './errors.js';

/** Largest stream key file, in bytes. */
export const MAX_STREAM_KEY_BYTES = 65;

/**
 * Parses a stream key file. Returns the key, 32 bytes.
 *
 * @throws OptionError with the code `stream-key-malformed`, and a message that never repeats text of the file
 */
export function parseStreamKey(text: string | Uint8Array): Uint8Array {
  const characters = typeof text === 'string' ? text : Array.from(text, (byte) => String.fromCharCode(byte)).join('');
  const key = /^[0-9a-f]{64}\n?$/.test(characters) ? fromHex(characters.slice(0, 64)) : undefined;
  if (characters.length > MAX_STREAM_KEY_BYTES || key === undefined)
    throw new OptionError(
      'streamKey',
      'a stream key file has 64 lowercase hexadecimal digits and nothing else',
      'stream-key-malformed',
    );
  return key;
}
