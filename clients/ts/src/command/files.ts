/** Reads files, bounded. */

import { closeSync, openSync, readSync } from 'node:fs';

/** A file can't be read, or can't be what it should. */
export class FileError extends Error {}

/** Bytes of a piece. */
const pieceSize = 1 << 20;

/** The file's bytes in pieces of up to a MiB. A piece is valid until the next is asked for. Throws FileError. */
export function* filePieces(what: string, path: string): Iterable<Uint8Array> {
  const attempt = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new FileError(`${what}: ${(error as Error).message}`);
    }
  };
  const file = attempt(() => openSync(path, 'r'));
  try {
    const piece = new Uint8Array(pieceSize);
    for (;;) {
      const read = attempt(() => readSync(file, piece));
      if (read === 0) return;
      yield piece.subarray(0, read);
    }
  } finally {
    closeSync(file);
  }
}

/** The whole file, of at most so many bytes. Throws FileError. */
export function readFile(what: string, path: string, limit: number): Uint8Array {
  let bytes = new Uint8Array(pieceSize);
  let size = 0;
  for (const piece of filePieces(what, path)) {
    if (size + piece.length > limit) throw new FileError(`${what}: ${path} has more than ${limit} bytes`);
    if (size + piece.length > bytes.length) {
      const larger = new Uint8Array(Math.max(2 * bytes.length, size + piece.length));
      larger.set(bytes.subarray(0, size));
      bytes = larger;
    }
    bytes.set(piece, size);
    size += piece.length;
  }
  return bytes.subarray(0, size);
}
