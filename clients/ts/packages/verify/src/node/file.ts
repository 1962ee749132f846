/** Files of Node, read in parts. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { CallerError } from '../errors.js';
import { PIECE, type Source } from '../source.js';

/** Reads a file from its current place, up to a number of bytes. */
export function readUpTo(descriptor: number, most: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let size = 0;
  while (size < most) {
    const piece = new Uint8Array(Math.min(PIECE, most - size));
    const read = readSync(descriptor, piece);
    if (read === 0) break;
    pieces.push(piece.subarray(0, read));
    size += read;
  }
  const all = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Returns the message of a system error, without the code and path that Node adds. */
export function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : 'read failed';
  return /^[A-Z0-9]+: ([^,]*)/.exec(message)?.[1] ?? message;
}

/** Closes the descriptors of files that nothing refers to. */
const descriptors = new FinalizationRegistry<number>(closeSync);

/** The size limit of input that is no regular file, such as a pipe, in bytes. */
const maxPipe = 256 << 20;

/**
 * A file that is read in parts. It is opened when it is first read, and closed
 * when nothing refers to it any more. Iterating yields its content in pieces.
 */
export class OpenFile implements Source {
  private descriptor: number | undefined;
  private held: Uint8Array | undefined;
  private bytes = 0;

  /**
   * Names a file, which is not opened yet.
   *
   * @param name identifies the file in reports
   * @param path is that of the file for the operating system
   */
  constructor(
    readonly name: string,
    private readonly path: string | Buffer = name,
  ) {}

  /** The file itself, so that it is a file to verify. */
  get content(): this {
    return this;
  }

  /**
   * The size in bytes.
   *
   * @throws CallerError with the code `unreadable`
   */
  get size(): number {
    this.open();
    return this.bytes;
  }

  /**
   * Returns `length` bytes from `offset` on, or fewer at the end of the file.
   *
   * @throws CallerError with the code `unreadable`
   */
  read(offset: number, length: number): Uint8Array {
    const descriptor = this.open();
    if (this.held !== undefined) return this.held.subarray(offset, offset + length);
    return this.attempt(() => {
      const piece = new Uint8Array(length);
      let at = 0;
      while (at < length) {
        const read = readSync(descriptor, piece, at, length - at, offset + at);
        if (read === 0) break;
        at += read;
      }
      return piece.subarray(0, at);
    });
  }

  /** Yields the content in pieces. */
  *[Symbol.iterator](): Iterator<Uint8Array> {
    for (let at = 0; ; at += PIECE) {
      const piece = this.read(at, PIECE);
      if (piece.length > 0) yield piece;
      if (piece.length < PIECE) return;
    }
  }

  private open(): number {
    if (this.descriptor !== undefined) return this.descriptor;
    return this.attempt(() => {
      const descriptor = openSync(this.path, 'r');
      descriptors.register(this, descriptor);
      const info = fstatSync(descriptor);
      if (info.isDirectory()) throw new Error('is a directory');
      if (!info.isFile()) this.held = readUpTo(descriptor, maxPipe + 1);
      this.bytes = this.held?.length ?? info.size;
      this.descriptor = descriptor;
      return descriptor;
    });
  }

  private attempt<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw new CallerError('unreadable', `${this.name}: ${reason(error)}`, { cause: error });
    }
  }
}

/** Returns a file to verify. A file that cannot be read becomes a report with the code `unreadable`. */
export function openFile(path: string): OpenFile {
  return new OpenFile(path);
}
