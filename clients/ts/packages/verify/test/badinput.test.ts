/** The index of bad input, docs/spec/vectors/bad-input.json. */

import { describe, expect, test } from 'vitest';
import { specText } from './vectors.js';

interface Item {
  item: string;
  cases: { file: string; name: string; reason: string }[];
}

interface Vector {
  name: string;
  reason?: string;
}

const read = (file: string): unknown => JSON.parse(specText(`vectors/${file}`));
const items = read('bad-input.json') as Item[];

/** Returns the cases of a file. */
function vectorsOf(file: string): Vector[] {
  const content = read(file) as Vector[] | { cases: Vector[] };
  return Array.isArray(content) ? content : content.cases;
}

test('every item has a vector', () => {
  expect(items).toHaveLength(19);
  for (const { item, cases } of items) expect(cases.length, item).toBeGreaterThan(0);
});

// The tests of each file run all of its cases with their codes.
describe.each(items)('$item', ({ cases }) => {
  test.each(cases)('$file: $name', ({ file, name, reason }) => {
    expect(vectorsOf(file).filter((v) => v.name === name)).toMatchObject([{ reason }]);
  });
});
