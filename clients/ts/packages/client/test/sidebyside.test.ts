/** The names of TypeScript in docs/sdks.md exist in the built packages. */

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

type Members = Partial<Record<string, unknown>>;

const page = readFileSync(new URL('../../../../../docs/sdks.md', import.meta.url), 'utf8');
const packages: Record<string, Members> = {
  '@muniment/client': await import('@muniment/client'),
  '@muniment/verify': await import('@muniment/verify'),
  '@muniment/verify/node': await import('@muniment/verify/node'),
};

interface Cell {
  row: string;
  spans: string[];
}

/** Returns the cells of the column of TypeScript in the table of a section. */
function cellsOf(heading: string): Cell[] {
  const section = (page.split(`\n## ${heading}\n`)[1] ?? '').split('\n## ')[0] ?? '';
  const [titles, , ...rows] = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  expect(titles?.[4]).toBe('TypeScript');
  return rows.map(([, row = '', , , cell = '']) => ({
    row,
    spans: [...cell.matchAll(/`([^`]+)`/g)].map(([, span = '']) => span),
  }));
}

const prototypeOf = (type: unknown): Members => (type as { prototype: Members }).prototype;

/** Returns the objects that must have a name, and its last part. */
function ownersOf(name: string, home: string): [Members[], string] {
  const verify = packages['@muniment/verify'] ?? {};
  const reports = [prototypeOf(verify['VerifiedReport']), prototypeOf(verify['FailedReport'])];
  if (name === 'JSON.stringify') return [reports, 'toJSON'];
  if (name.startsWith('report.')) return [reports, name.slice(7)];
  const exported = packages[home] ?? {};
  if (home === '@muniment/client' && !(name in exported)) return [[prototypeOf(exported['Client'])], name];
  return [[exported], name];
}

/** Reports whether a name exists, and can be called with as many arguments. */
function exists(span: string, home: string): boolean {
  const [, name = '', args] = /^(?:new )?([\w.]+)(?:\((.*)\))?$/.exec(span) ?? [];
  const [owners, member] = ownersOf(name, home);
  return owners.every((owner) => {
    const value = owner[member];
    return (
      typeof value === 'function' &&
      (args === undefined || value.length <= args.split(',').filter((arg) => arg !== '').length)
    );
  });
}

test.each([
  ['Verify', '@muniment/verify'],
  ['Call the API', '@muniment/client'],
])('%s', (heading, usual) => {
  const cells = cellsOf(heading);
  expect(cells.length).toBeGreaterThan(9);
  for (const { row, spans } of cells) {
    const home = spans.find((span) => span.startsWith('@')) ?? usual;
    const names = spans.filter((span) => !span.startsWith('@'));
    expect(names, row).not.toHaveLength(0);
    for (const name of names) expect(exists(name, home), `${row}: ${home} has no ${name}`).toBe(true);
  }
});

test.each(['parseConfiguration()', 'verifyNothing', 'report.toNothing()', 'JSON.nothing', 'new Nothing(options)', ''])(
  '%j does not exist',
  (span) => {
    for (const home of Object.keys(packages)) expect(exists(span, home)).toBe(false);
  },
);
