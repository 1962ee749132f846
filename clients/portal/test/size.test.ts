/** What a first visit loads, and what each view adds. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';

interface Part {
  file: string;
  isEntry?: boolean;
  imports?: string[];
  dynamicImports?: string[];
  css?: string[];
}

const dist = new URL('../dist/', import.meta.url);
const parts = JSON.parse(readFileSync(new URL('parts.json', dist), 'utf8')) as Record<string, Part>;
const limit = 300_000;

/** Returns the files of a part and of all that it imports. */
function filesOf(name: string, seen = new Set<string>()): Set<string> {
  const part = parts[name];
  if (part === undefined) throw new Error(`no part ${name}`);
  if (seen.has(part.file)) return seen;
  seen.add(part.file);
  for (const css of part.css ?? []) seen.add(css);
  for (const imported of part.imports ?? []) filesOf(imported, seen);
  return seen;
}

const sizeOf = (files: Iterable<string>) =>
  [...files].reduce((sum, file) => sum + gzipSync(readFileSync(new URL(file, dist)), { level: 6 }).length, 0);

const [entry] = Object.entries(parts).find(([, { isEntry }]) => isEntry === true) ?? [''];
const first = filesOf(entry);
const views = (parts[entry]?.dynamicImports ?? []).map(
  (name) => [name, sizeOf(new Set([...first, ...filesOf(name)]))] as const,
);

test.each(views)('a first visit of %s loads at most 300 kB', (_, size) => {
  expect(size).toBeLessThanOrEqual(limit);
});

test('every view is a part of its own', () => {
  expect(views.length).toBeGreaterThanOrEqual(16);
  const out = new URL('../../../bin/', import.meta.url);
  mkdirSync(out, { recursive: true });
  const sizes = { limit, frame: sizeOf(first), views: Object.fromEntries(views) };
  writeFileSync(new URL('portal-sizes.json', out), `${JSON.stringify(sizes, undefined, 2)}\n`);
});
