/** The files of an export (export-manifest.md, section 7, step 8). */

import { sha256 } from '@noble/hashes/sha2.js';
import { hex } from '../bytes.js';
import { quote } from '../json.js';
import { ExportError, Failure } from './errors.js';
import type { ExportFile } from './statement.js';

/** The content of a file, in pieces. A piece is valid until the next one. */
export type ByteStream = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * A folder with the files of an export. An error that a method throws means
 * that the folder cannot be read.
 */
export interface Folder {
  /**
   * Reports whether a path is that of a regular file. Neither the file nor a
   * folder on its path can be a link.
   */
  isFile(path: string): Promise<boolean> | boolean;
  /** Yields the path of everything in the folder but folders. */
  paths(): AsyncIterable<string> | Iterable<string>;
  /** Opens a file. */
  open(path: string): Promise<ByteStream> | ByteStream;
  /** Begins a SHA-256. Absent: this package computes it. */
  createHash?(): Sha256;
}

/** A SHA-256 in the making. */
export interface Sha256 {
  /** Adds bytes. */
  update(piece: Uint8Array): unknown;
  /** Returns the hash, 32 bytes. */
  digest(): Uint8Array;
}

/**
 * Returns the folder of files by their paths, such as those dropped on a page.
 */
export function folderOf(files: ReadonlyMap<string, Uint8Array | Blob>): Folder {
  return {
    isFile: (path) => files.has(path),
    paths: () => files.keys(),
    open: (path) => piecesOf(files.get(path) ?? new Uint8Array()),
  };
}

async function* piecesOf(file: Uint8Array | Blob): AsyncIterable<Uint8Array> {
  if (file instanceof Uint8Array) {
    yield file;
    return;
  }
  const reader = file.stream().getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    await reader.cancel(); // closes the file after an early end, too
  }
}

/** What interrupts the reading, and what is told of it. */
export interface Watch {
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Performs step 8. */
export async function checkFiles(files: readonly ExportFile[], folder: Folder, watch: Watch): Promise<void> {
  for (const { name } of files)
    if (!(await readable(name, () => folder.isFile(name))))
      throw new Failure('file-missing', `file ${quote(name)} is missing, or not a regular file`);
  await checkOthers(files, folder, watch);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const file of files) {
    await checkContent(file, folder, watch, (bytes) => {
      done += bytes;
      watch.onProgress?.(done, total);
    });
  }
}

/**
 * Performs an action on the folder. Its errors are those of an unreadable
 * input.
 */
async function readable<T>(name: string, action: () => Promise<T> | T): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw error instanceof ExportError || error instanceof Failure ? error : unreadable(name, error);
  }
}

function unreadable(name: string, cause: unknown): ExportError {
  const reason = cause instanceof Error ? cause.message : 'read failed';
  return new ExportError('unreadable', 0, `${quote(name)}: ${reason}`, { cause });
}

/** Performs step 8.2. */
async function checkOthers(files: readonly ExportFile[], folder: Folder, { signal }: Watch): Promise<void> {
  const own = new Set(files.map(({ name }) => name));
  const extra = await readable('.', async () => {
    for await (const path of folder.paths()) if (signal?.aborted === true || !own.has(path)) return path;
    return undefined;
  });
  signal?.throwIfAborted();
  if (extra !== undefined) throw new Failure('file-extra', `file ${quote(extra)} is not in the manifest`);
}

/** Performs step 8.3 for a file. It needs constant memory. */
async function checkContent(
  { name, size, sha256: expected }: ExportFile,
  folder: Folder,
  { signal }: Watch,
  progress: (bytes: number) => void,
): Promise<void> {
  const hash = folder.createHash?.() ?? sha256.create();
  let read = 0;
  await readable(name, async () => {
    for await (const piece of await folder.open(name)) {
      read += piece.length;
      if (read > size || signal?.aborted === true) return;
      hash.update(piece);
      progress(piece.length);
    }
  });
  signal?.throwIfAborted();
  if (read > size) throw new Failure('file-size', `file ${quote(name)} has more than ${size} bytes`);
  if (read < size) throw new Failure('file-size', `file ${quote(name)} has ${read} bytes, expected ${size}`);
  if (hex(hash.digest()) !== expected)
    throw new Failure('file-digest', `file ${quote(name)} has another digest than in the manifest`);
}
