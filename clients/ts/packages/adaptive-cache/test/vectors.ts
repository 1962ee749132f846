/** Reads the vectors that the implementations share. */

import { readFileSync } from 'node:fs';

/** Returns a file of docs/spec/vectors/adaptive-cache. */
export function vectors(name: string): unknown {
  const file = new URL(`../../../../../docs/spec/vectors/adaptive-cache/${name}`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8'));
}
