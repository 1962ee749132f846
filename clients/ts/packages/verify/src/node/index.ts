/** Files and folders of Node, read in parts. */

import { constants, lstatSync } from 'node:fs';
import { open, opendir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Folder } from '../export/files.js';
import type { Source } from '../source.js';

/** Refuses links. Windows does not have it. */
const noFollow = (constants as Partial<typeof constants>).O_NOFOLLOW ?? 0;

/** Size of a piece, in bytes. */
const pieceSize = 256 << 10;

/** A file of Node. Close it after use. */
export interface OpenFile extends Source {
  close(): Promise<void>;
}

/**
 * Opens a regular file.
 *
 * @throws Error if it cannot be opened, or is not a regular file
 */
export async function openFile(path: string): Promise<OpenFile> {
  const handle = await open(path, 'r');
  const status = await handle.stat();
  if (!status.isFile()) {
    await handle.close();
    throw new Error('not a regular file');
  }
  return {
    size: status.size,
    read: (offset, length) => readAt(handle, offset, length),
    close: () => handle.close(),
  };
}

/** Returns the bytes of a file, or fewer if it ends before. */
async function readAt(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await handle.read(bytes, read, length - read, offset + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return bytes.subarray(0, read);
}

/** Returns the folder of an export. */
export function openFolder(root: string): Folder {
  return {
    isFile: (path) => isFile(root, path),
    paths: () => pathsBelow(root, ''),
    open: (path) => piecesOf(join(root, ...path.split('/'))),
  };
}

/**
 * Reports whether a path is that of a regular file, without links on the way.
 */
function isFile(root: string, path: string): boolean {
  const segments = path.split('/');
  for (let i = 1; i <= segments.length; i++) {
    const status = lstatSync(join(root, ...segments.slice(0, i)), { throwIfNoEntry: false });
    if (status === undefined || !(i < segments.length ? status.isDirectory() : status.isFile())) return false;
  }
  return true;
}

async function* pathsBelow(root: string, below: string): AsyncIterable<string> {
  for await (const entry of await opendir(join(root, below))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* pathsBelow(root, path);
    else yield path;
  }
}

async function* piecesOf(path: string): AsyncIterable<Uint8Array> {
  const handle = await open(path, constants.O_RDONLY | noFollow);
  try {
    const piece = new Uint8Array(pieceSize);
    for (;;) {
      const { bytesRead } = await handle.read(piece, 0, pieceSize);
      if (bytesRead === 0) return;
      yield piece.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}
