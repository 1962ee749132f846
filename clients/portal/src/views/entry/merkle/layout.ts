/** The layout of a drawn Merkle path: the root above, the leaf below. */

import { isEqual, type Node, type Path, type Range } from './path';

/**
 * - leaf, node: computed here
 * - sibling: from the receipt
 * - root: computed here, and equal to the signed root
 * - wrong: computed here, and different from the signed root
 * - signed: the root of the checkpoint, if it is different
 * - gap: levels that are not drawn
 */
export type Role = 'leaf' | 'node' | 'sibling' | 'root' | 'wrong' | 'signed' | 'gap';

interface Place {
  key: string;
  x: number;
  y: number;
  width: number;
  height: number;
  /** From 0, which is the root. */
  row: number;
  /** Replaces the range of entries. */
  text?: string;
}

/** A box of the drawing. */
export type Box = Place & Range & { role: Role; hash: Uint8Array };

const rowHeight = 62;
const boxHeight = 38;
const margin = 2;

/** Levels of longer paths are drawn only on demand, except for so many at both ends. */
const shownBelow = 6;
const shownAbove = 4;

/** A row of the drawing: a level of the path from the root down, or the number of levels left out. */
export type Level = { level: number } | { leftOut: number };

/** Returns the rows of the drawing. */
export function levelsOf({ steps }: Path, isWhole: boolean): Level[] {
  const all = Array.from({ length: steps.length + 1 }, (_, i) => ({ level: steps.length - i }));
  const leftOut = all.length - shownAbove - shownBelow;
  if (isWhole || leftOut < 3) return all;
  return [...all.slice(0, shownAbove), { leftOut }, ...all.slice(-shownBelow)];
}

export const heightOf = (levels: readonly Level[]): number => (levels.length - 1) * rowHeight + boxHeight + 2 * margin;

/** Returns the boxes of the drawing. */
export function boxesOf(path: Path, levels: readonly Level[], width: number): Box[] {
  const boxWidth = Math.floor(Math.min(190, (width - 2 * margin) * 0.31));
  const middle = Math.floor((width - boxWidth) / 2);
  const side = { left: margin, right: width - boxWidth - margin };
  return levels.flatMap((level, row): Box[] => {
    const y = margin + row * rowHeight;
    const place = (key: string, x: number): Place => ({ key, x, y, width: boxWidth, height: boxHeight, row });
    if ('leftOut' in level) {
      const nowhere = { from: 0, to: 0, hash: new Uint8Array() };
      return [{ ...place('gap', middle), ...nowhere, role: 'gap', text: `⋮ ${level.leftOut} more levels` }];
    }
    const node = level.level === 0 ? path.leaf : path.steps[level.level - 1]?.parent;
    if (node === undefined) return [];
    const boxes: Box[] = [{ ...place(`node-${level.level}`, middle), ...node, role: roleOf(path, level.level, node) }];
    const above = path.steps[level.level];
    if (above !== undefined)
      boxes.push({ ...place(`sibling-${level.level}`, side[above.side]), ...above.sibling, role: 'sibling' });
    if (level.level === path.steps.length && path.fault === 'root')
      boxes.push({
        ...place('signed', side.right),
        ...node,
        hash: path.signedRoot,
        role: 'signed',
        text: 'signed root',
      });
    return boxes;
  });
}

function roleOf(path: Path, level: number, node: Node): Role {
  if (level < path.steps.length) return level === 0 ? 'leaf' : 'node';
  return path.fault === undefined && isEqual(node.hash, path.signedRoot) ? 'root' : 'wrong';
}

/** A line of the drawing. */
export interface Edge {
  key: string;
  d: string;
  onPath: boolean;
}

/** Returns the lines between parents and their children. */
export function edgesOf(boxes: readonly Box[]): Edge[] {
  const parents = new Map(
    boxes.filter(({ role }) => role !== 'sibling' && role !== 'signed').map((box) => [box.row, box]),
  );
  return boxes.flatMap((child) => {
    const parent = parents.get(child.row - 1);
    if (parent === undefined || child.role === 'signed') return [];
    const x1 = parent.x + parent.width / 2;
    const y1 = parent.y + parent.height;
    const x2 = child.x + child.width / 2;
    const bend = y1 + (child.y - y1) / 2;
    const onPath = child.role !== 'sibling';
    return [{ key: child.key, d: `M${x1} ${y1}C${x1} ${bend} ${x2} ${bend} ${x2} ${child.y}`, onPath }];
  });
}
