/** Configurations in files of Node. */

import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import {
  ConfigurationError,
  MAX_CONFIGURATION_BYTES,
  parseConfiguration,
  type Configuration,
} from '../configuration.js';
import { readUpTo, reason } from './file.js';

/**
 * Loads a configuration, and the files that it names. Their paths are relative
 * to the folder of the configuration.
 *
 * @param file the path of the configuration
 * @param name identifies the configuration in messages
 * @throws ConfigurationError if the configuration cannot be used
 */
export async function loadConfiguration(file: string | Buffer, name = String(file)): Promise<Configuration> {
  let text;
  try {
    text = readStart(file, MAX_CONFIGURATION_BYTES, false);
  } catch (error) {
    throw new ConfigurationError('configuration-unreadable', `${name}: ${reason(error)}`, { cause: error });
  }
  const folder = dirname(resolve(String(file)));
  return await parseConfiguration(text, (path, limit) => {
    try {
      return readStart(isAbsolute(path) ? path : join(folder, path), limit, true);
    } catch (error) {
      throw new Error(reason(error), { cause: error });
    }
  });
}

/** Reads a file, up to limit + 1 bytes of it. Throws the system's error. */
function readStart(path: string | Buffer, limit: number, regular: boolean): Uint8Array {
  // A pipe without a writer would block the process.
  const descriptor = openSync(path, regular ? constants.O_RDONLY | constants.O_NONBLOCK : constants.O_RDONLY);
  try {
    if (regular && !fstatSync(descriptor).isFile()) throw new Error('not a regular file');
    return readUpTo(descriptor, limit + 1);
  } finally {
    closeSync(descriptor);
  }
}
