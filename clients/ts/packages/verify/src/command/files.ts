/** Bounded reading of files. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { CallerError } from '../errors.js';

/** A file: its name for display, and its path for the operating system. */
export interface File {
  name: string;
  path: string | Buffer;
}

/** Size of a piece, in bytes. */
const pieceSize = 1 << 20;

/**
 * Opens a file and returns its content in pieces. A piece is valid until the
 * next one. Both throw CallerError.
 */
export function openPieces(file: File): Iterable<Uint8Array> {
  const descriptor = attempt(file, () => {
    const opened = openSync(file.path, 'r');
    if (!fstatSync(opened).isDirectory()) return opened;
    closeSync(opened);
    throw new Error('EISDIR: is a directory');
  });
  return pieces(file, descriptor);
}

function* pieces(file: File, descriptor: number): Iterable<Uint8Array> {
  try {
    const piece = new Uint8Array(pieceSize);
    for (;;) {
      const read = attempt(file, () => readSync(descriptor, piece));
      if (read === 0) return;
      yield piece.subarray(0, read);
    }
  } finally {
    closeSync(descriptor);
  }
}

function attempt<T>(file: File, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new CallerError('unreadable', `${file.name}: ${reason(error)}`);
  }
}

/**
 * Returns the message of a system error, without the code and path that Node
 * adds.
 */
export function reason(error: unknown): string {
  return /^[A-Z0-9]+: ([^,]*)/.exec((error as Error).message)?.[1] ?? 'read failed';
}

/** Reads a file, up to limit + 1 bytes of it. Throws CallerError. */
export function readFile(file: File, limit: number): Uint8Array {
  let bytes = new Uint8Array(pieceSize);
  let size = 0;
  for (const piece of openPieces(file)) {
    if (size + piece.length > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, size + piece.length));
      larger.set(bytes.subarray(0, size));
      bytes = larger;
    }
    bytes.set(piece, size);
    size += piece.length;
    if (size > limit) break;
  }
  return bytes.subarray(0, Math.min(size, limit + 1));
}
