/** Stream key files (receipt.md, section 3). */

import { fromHex, utf8 } from './bytes.js';
import { explainEncoding } from './charset.js';
import { OptionError } from './errors.js';

/** Size limit of stream key files, in bytes. */
export const MAX_STREAM_KEY_BYTES = 65;

/**
 * Parses the content of a stream key file. Returns the key, 32 bytes.
 *
 * @throws OptionError with the code `stream-key-malformed`; the message never
 *   quotes the file
 */
export function parseStreamKey(text: string | Uint8Array): Uint8Array {
  const characters = typeof text === 'string' ? text : Array.from(text, (byte) => String.fromCharCode(byte)).join('');
  const key = /^[0-9a-f]{64}\n?$/.test(characters) ? fromHex(characters.slice(0, 64)) : undefined;
  if (characters.length > MAX_STREAM_KEY_BYTES || key === undefined)
    throw new OptionError(
      'streamKey',
      explainEncoding(typeof text === 'string' ? utf8(text) : text) ??
        'a stream key file must contain 64 lowercase hexadecimal digits and nothing else',
      'stream-key-malformed',
    );
  return key;
}
