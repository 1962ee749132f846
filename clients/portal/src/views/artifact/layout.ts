/**
 * Places the graph of an artifact in columns: what it was made from on the
 * left, what contains it on the right. A column has few artifacts, and a place
 * for the rest, so that the graph stays legible whatever evidence claims.
 */

import type { ArtifactGraph, GraphNode } from '../../gen/muniment/v1/portal_pb';

/** Artifacts that a column shows before it is opened. */
export const COLUMN = 6;
/** Artifacts that an opened column shows. The table has all. */
export const OPEN_COLUMN = 30;

/** A place in the graph: an artifact, or those of a column that are not shown. */
export type Place = {
  key: string;
  /** From the artifact that the view is about: negative to the left. */
  column: number;
  row: number;
} & ({ node: GraphNode } | { more: readonly GraphNode[]; open: boolean });

export interface Line {
  from: Place;
  to: Place;
}

export interface Layout {
  columns: readonly number[];
  rows: number;
  places: readonly Place[];
  lines: readonly Line[];
}

export const isNode = (place: Place): place is Place & { node: GraphNode } => 'node' in place;

/** The name by which people know an artifact, or else its digest. */
export const nameOf = (node: GraphNode): string => node.names[0] ?? node.digest;

/** The artifact that the view is about. */
const rootOf = ({ nodes }: ArtifactGraph): GraphNode | undefined => nodes.find((node) => node.root) ?? nodes[0];

/** Returns the column of each artifact that the root leads to: its distance by the shortest way. */
export function columnsOf(graph: ArtifactGraph): Map<string, number> {
  const { nodes, edges } = graph;
  const root = rootOf(graph)?.digest;
  if (root === undefined) return new Map();
  const known = new Set(nodes.map(({ digest }) => digest));
  const columns = new Map([[root, 0]]);
  for (const [step, start, end] of [
    [-1, 'to', 'from'],
    [1, 'from', 'to'],
  ] as const) {
    const neighbours = new Map<string, string[]>();
    for (const edge of edges) {
      if (!known.has(edge[end])) continue;
      const list = neighbours.get(edge[start]);
      if (list === undefined) neighbours.set(edge[start], [edge[end]]);
      else list.push(edge[end]);
    }
    let reached = [root];
    for (let column = step as number; reached.length > 0; column += step) {
      const next: string[] = [];
      for (const digest of reached)
        for (const other of neighbours.get(digest) ?? [])
          if (!columns.has(other)) {
            columns.set(other, column);
            next.push(other);
          }
      reached = next;
    }
  }
  return columns;
}

const byName = (a: GraphNode, b: GraphNode): number =>
  nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : a.digest < b.digest ? -1 : 1;

/**
 * Places a graph.
 *
 * @param open columns that show more than the first artifacts
 */
export function layOut(graph: ArtifactGraph, open: ReadonlySet<number> = new Set()): Layout {
  if (graph.nodes.length === 0) return { columns: [], rows: 0, places: [], lines: [] };
  const columnOf = columnsOf(graph);
  const byColumn = new Map<number, GraphNode[]>();
  for (const node of graph.nodes) {
    const column = columnOf.get(node.digest);
    if (column === undefined) continue; // nothing leads there
    const nodes = byColumn.get(column);
    if (nodes === undefined) byColumn.set(column, [node]);
    else nodes.push(node);
  }
  const places: Place[] = [];
  const placeOf = new Map<string, Place>();
  const columns = [...byColumn.keys()].sort((a, b) => a - b);
  for (const column of columns) {
    const nodes = (byColumn.get(column) ?? []).sort(byName);
    const isOpen = open.has(column);
    const limit = isOpen ? OPEN_COLUMN : COLUMN;
    // One that is left out would take the place of the note about it.
    const shown = nodes.length <= limit + 1 && !isOpen ? nodes : nodes.slice(0, limit);
    shown.forEach((node, row) => {
      const place = { key: node.digest, column, row, node };
      places.push(place);
      placeOf.set(node.digest, place);
    });
    const rest = nodes.slice(shown.length);
    if (rest.length > 0 || (isOpen && nodes.length > COLUMN + 1)) {
      const place = {
        key: `more ${column}`,
        column,
        row: shown.length,
        more: rest,
        open: isOpen,
      };
      places.push(place);
      for (const { digest } of rest) placeOf.set(digest, place);
    }
  }
  const lines = new Map<string, Line>();
  for (const edge of graph.edges) {
    const from = placeOf.get(edge.from);
    const to = placeOf.get(edge.to);
    if (from === undefined || to === undefined || from.column >= to.column) continue;
    lines.set(`${from.key}\n${to.key}`, { from, to });
  }
  return {
    columns,
    rows: Math.max(...places.map(({ row }) => row + 1)),
    places,
    lines: [...lines.values()],
  };
}

/** What an artifact is to the one of the view, by its column. */
export function relationOf(column: number): string {
  if (column === 0) return 'This artifact';
  if (column === -1) return 'Made from';
  if (column === 1) return 'Contained in';
  return column < 0 ? `Made from, ${-column} steps` : `Contained in, ${column} steps`;
}
