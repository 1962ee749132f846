/** Folders of Node. */

import { constants, lstatSync } from 'node:fs';
import { open, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Folder } from '../export/files.js';
import { PIECE } from '../source.js';

/** Refuses links. Windows does not have it. */
const noFollow = (constants as Partial<typeof constants>).O_NOFOLLOW ?? 0;

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
    const piece = new Uint8Array(PIECE);
    for (;;) {
      const { bytesRead } = await handle.read(piece, 0, PIECE);
      if (bytesRead === 0) return;
      yield piece.subarray(0, bytesRead);
    }
  } finally {
    await handle.close();
  }
}
