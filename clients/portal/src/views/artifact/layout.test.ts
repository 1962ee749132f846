import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { ArtifactGraphSchema, GraphEdgeSchema } from '../../gen/muniment/v1/portal_pb';
import { COLUMN, OPEN_COLUMN, isNode, layOut } from './layout';

const graph = (root: string, edges: readonly (readonly [from: string, to: string])[]) => {
  const digests = [...new Set([root, ...edges.flat()])];
  return create(ArtifactGraphSchema, {
    nodes: digests.map((digest) => ({
      digest,
      names: [digest],
      root: digest === root,
    })),
    edges: edges.map(([from, to]) => ({ from, to })),
  });
};

const many = (n: number) => Array.from({ length: n }, (_, i) => `m${String(i).padStart(5, '0')}`);

test('places materials to the left and containers to the right', () => {
  const { columns, places, lines } = layOut(
    graph('image', [
      ['base', 'image'],
      ['os', 'base'],
      ['image', 'chart'],
      ['chart', 'release'],
    ]),
  );
  expect(columns).toEqual([-2, -1, 0, 1, 2]);
  expect(places.map(({ key, column }) => [key, column])).toEqual([
    ['os', -2],
    ['base', -1],
    ['image', 0],
    ['chart', 1],
    ['release', 2],
  ]);
  expect(lines).toHaveLength(4);
});

test('ends with cycles, with loops, and with edges to what it does not have', () => {
  const cyclic = graph('a', [
    ['a', 'b'],
    ['b', 'a'],
    ['a', 'a'],
    ['b', 'c'],
    ['c', 'b'],
  ]);
  cyclic.edges.push(create(GraphEdgeSchema, { from: 'unknown', to: 'a' }));
  const { places, lines } = layOut(cyclic);
  expect(places.map(({ key }) => key).sort()).toEqual(['a', 'b', 'c']);
  for (const { from, to } of lines) expect(from.column).toBeLessThan(to.column);
});

test('collapses what a column cannot show, and opens it up to a bound', () => {
  const wide = graph(
    'root',
    many(10_000).map((m) => [m, 'root'] as const),
  );
  const closed = layOut(wide);
  expect(closed.places).toHaveLength(1 + COLUMN + 1);
  const more = closed.places.find((place) => !isNode(place));
  expect(more).toMatchObject({ column: -1, open: false });
  expect(more !== undefined && !isNode(more) && more.more).toHaveLength(10_000 - COLUMN);
  expect(closed.lines).toHaveLength(COLUMN + 1);
  const open = layOut(wide, new Set([-1]));
  expect(open.places).toHaveLength(1 + OPEN_COLUMN + 1);
});

test('shows one more rather than a note about it, and can close a column that shows all', () => {
  const graphOf = (n: number) =>
    graph(
      'root',
      many(n).map((m) => ['root', m] as const),
    );
  expect(layOut(graphOf(COLUMN + 1)).places.every(isNode)).toBe(true);
  expect(layOut(graphOf(COLUMN + 2)).places.filter(isNode)).toHaveLength(1 + COLUMN);
  const open = layOut(graphOf(COLUMN + 2), new Set([1]));
  expect(open.places.filter(isNode)).toHaveLength(1 + COLUMN + 2);
  expect(open.places.some((place) => !isNode(place) && place.open && place.more.length === 0)).toBe(true);
});

test('is the same whatever the order of nodes and edges', () => {
  const one = graph('r', [
    ['b', 'r'],
    ['a', 'r'],
    ['c', 'a'],
  ]);
  const keys = (g: typeof one) => layOut(g).places.map(({ key, column, row }) => `${key} ${column} ${row}`);
  const other = {
    ...one,
    nodes: [...one.nodes].reverse(),
    edges: [...one.edges].reverse(),
  };
  expect(keys(other)).toEqual(keys(one));
});

test('places nothing of an empty graph', () => {
  expect(layOut(create(ArtifactGraphSchema))).toMatchObject({
    places: [],
    lines: [],
    rows: 0,
  });
});
