import { expect, test } from 'vitest';
import { boxesOf, edgesOf, heightOf, levelsOf } from './layout';
import { pathOf } from './path';

const hash = (seed: number) => new Uint8Array(32).fill(seed);
const pathIn = (size: number, index: number, levels: number) =>
  pathOf(
    { index, hashes: Array.from({ length: levels }, (_, i) => hash(i)), checkpoint: { size, root: hash(255) } },
    hash(77),
  );

test.each([
  [1, 0, 0],
  [13, 7, 4],
  [2 ** 40, 5, 40],
])('boxes of a tree of %d entries do not overlap, at any width', (size, index, levels) => {
  const path = pathIn(size, index, levels);
  for (const width of [280, 320, 600, 880])
    for (const isWhole of [true, false]) {
      const rows = levelsOf(path, isWhole);
      const boxes = boxesOf(path, rows, width);
      for (const [i, a] of boxes.entries()) {
        expect(a.x).toBeGreaterThanOrEqual(0);
        expect(a.x + a.width).toBeLessThanOrEqual(width);
        expect(a.y + a.height).toBeLessThanOrEqual(heightOf(rows));
        for (const b of boxes.slice(i + 1))
          expect(a.x + a.width <= b.x || b.x + b.width <= a.x || a.y !== b.y).toBe(true);
      }
      expect(edgesOf(boxes)).toHaveLength(boxes.filter(({ row, role }) => row > 0 && role !== 'signed').length);
    }
});

test('the middle of long paths is left out at first', () => {
  const path = pathIn(2 ** 40, 5, 40);
  expect(levelsOf(path, false)).toHaveLength(11);
  expect(levelsOf(path, true)).toHaveLength(41);
  expect(boxesOf(path, levelsOf(path, false), 600).find(({ role }) => role === 'gap')?.text).toBe('⋮ 31 more levels');
});

test('a root that is not the signed one is marked', () => {
  const path = pathIn(13, 7, 4);
  const roles = boxesOf(path, levelsOf(path, true), 600).map(({ role }) => role);
  expect(roles).toContain('wrong');
  expect(roles).toContain('signed');
  expect(roles).not.toContain('root');
});

test('a whole path ends in the signed root', () => {
  const wrong = pathIn(13, 7, 4);
  const root = wrong.steps.at(-1)?.parent.hash ?? hash(0);
  const path = { ...wrong, signedRoot: root };
  delete path.fault;
  expect(boxesOf(path, levelsOf(path, true), 600)[0]?.role).toBe('root');
});
