/** Reads files, bounded. */

import { closeSync, openSync, readSync } from 'node:fs';
import { CallerError } from '../errors.js';

/** A file's name as it is shown, and as the operating system knows it. */
export interface File {
  name: string;
  path: string | Buffer;
}

/** Bytes of a piece. */
const pieceSize = 1 << 20;

/** The file's bytes in pieces of up to a MiB. A piece is valid until the next is asked for. */
export function* filePieces(file: File): Iterable<Uint8Array> {
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new CallerError('unreadable', `${file.name}: ${reason(error)}`);
    }
  };
  const descriptor = attempt(() => openSync(file.path, 'r'));
  try {
    const piece = new Uint8Array(pieceSize);
    for (;;) {
      const read = attempt(() => readSync(descriptor, piece));
      if (read === 0) return;
      yield piece.subarray(0, read);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** What a system error means, without its code and the path that Node puts into it. */
export function reason(error: unknown): string {
  return /^[A-Z0-9]+: ([^,]*)/.exec((error as Error).message)?.[1] ?? 'read failed';
}

/** The file's bytes, at most one more than the limit. Throws CallerError. */
export function readFile(file: File, limit: number): Uint8Array {
  let bytes = new Uint8Array(pieceSize);
  let size = 0;
  for (const piece of filePieces(file)) {
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
