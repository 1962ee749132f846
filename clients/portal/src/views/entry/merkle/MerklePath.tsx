import { useEffect, useId, useRef, useState } from 'react';
import { Button, classes, formatCompact, formatNumber, hex, Table } from '../../../ui';
import { boxesOf, edgesOf, heightOf, levelsOf, type Box } from './layout';
import type { Path, PathFault, Range } from './path';
import styles from './MerklePath.module.css';

const faults: Record<PathFault, string> = {
  index: 'The tree of the checkpoint is too small to contain the entry.',
  missing: 'The proof has too few hashes to reach the root.',
  extra: 'The proof has more hashes than the path has levels.',
  root: 'The root that follows from the entry is not the root that the checkpoint is signed for.',
};

/** Draws the way from an entry to the signed root, with the hashes that this browser has computed. */
export function MerklePath({ path, size }: { path: Path; size: number }) {
  const [isWhole, setWhole] = useState(false);
  const [width, frame] = useWidth();
  const id = useId();
  const levels = levelsOf(path, isWhole);
  const boxes = boxesOf(path, levels, width);
  const count = path.steps.length;
  return (
    <div className={styles.merkle}>
      <div ref={frame} className={styles.frame}>
        {width > 0 && (
          <svg
            className={styles.drawing}
            width={width}
            height={heightOf(levels)}
            viewBox={`0 0 ${width} ${heightOf(levels)}`}
            role="img"
            aria-labelledby={`${id}-title ${id}-desc`}
          >
            <title id={`${id}-title`}>{`Merkle path of entry ${path.leaf.from} in a tree of ${size} entries`}</title>
            <desc id={`${id}-desc`}>
              {`${describe(path)} ${count === 1 ? 'One hash leads' : `${count} hashes lead`} from the leaf to the root. The table below has all of them.`}
            </desc>
            {edgesOf(boxes).map(({ key, d, onPath }) => (
              <path key={key} d={d} className={classes(styles.edge, onPath && styles.onPath)} />
            ))}
            {boxes.map((box) => (
              <BoxDrawing key={box.key} box={box} isNarrow={width < 560} />
            ))}
          </svg>
        )}
      </div>
      <p
        className={path.fault === undefined ? styles.legend : styles.fault}
        role={path.fault === undefined ? undefined : 'alert'}
      >
        {describe(path)}
      </p>
      {levelsOf(path, true).length > levelsOf(path, false).length && (
        <div>
          <Button
            onPress={() => {
              setWhole(!isWhole);
            }}
          >
            {isWhole ? 'Hide the levels in the middle' : `Show all ${count} levels`}
          </Button>
        </div>
      )}
      <details className={styles.details}>
        <summary>The path as a table</summary>
        <PathTable path={path} />
      </details>
    </div>
  );
}

const describe = ({ fault, steps }: Path): string => {
  if (fault !== undefined) return faults[fault];
  if (steps.length === 0) return 'The entry is the only one of the tree, so its leaf is the root.';
  return 'This browser has computed each hash on the path from the two below it. The last is the root that the checkpoint is signed for.';
};

function BoxDrawing({ box, isNarrow }: { box: Box; isNarrow: boolean }) {
  const { x, y, width, height, role } = box;
  if (role === 'gap')
    return (
      <text x={x + width / 2} y={y + height / 2} className={styles.gap}>
        {box.text}
      </text>
    );
  const digits = hex(box.hash);
  return (
    <g className={styles[role]}>
      <rect x={x} y={y} width={width} height={height} rx={6} className={styles.box} />
      <text x={x + width / 2} y={y + 15} className={styles.hash}>
        {`${digits.slice(0, isNarrow ? 8 : 12)}…`}
      </text>
      <text x={x + width / 2} y={y + 30} className={styles.range}>
        {box.text ?? rangeText(box, isNarrow)}
      </text>
    </g>
  );
}

function rangeText({ from, to }: Range, isShort: boolean): string {
  const number = isShort || to > 9_999_999 ? formatCompact : formatNumber;
  if (to - from === 1) return isShort ? `# ${number(from)}` : `entry ${number(from)}`;
  return isShort ? `${number(from)}–${number(to - 1)}` : `entries ${number(from)}–${number(to - 1)}`;
}

function PathTable({ path }: { path: Path }) {
  const rows = [
    { level: 0, node: path.leaf, sibling: path.steps[0] },
    ...path.steps.map(({ parent }, i) => ({ level: i + 1, node: parent, sibling: path.steps[i + 1] })),
  ];
  return (
    <Table
      label="The Merkle path"
      rows={rows}
      rowKey={({ level }) => level}
      columns={[
        {
          id: 'level',
          header: 'Level',
          cell: ({ level }) => (level === 0 ? 'leaf' : level === path.steps.length ? 'root' : level),
        },
        { id: 'range', header: 'Covers', cell: ({ node }) => rangeText(node, false) },
        {
          id: 'hash',
          header: 'Computed hash',
          cell: ({ node }) => <code className={styles.digits}>{hex(node.hash)}</code>,
        },
        {
          id: 'sibling',
          header: 'Hash beside it, from the receipt',
          cell: ({ sibling }) =>
            sibling === undefined ? (
              'none'
            ) : (
              <>
                {sibling.side}: <code className={styles.digits}>{hex(sibling.sibling.hash)}</code>
              </>
            ),
        },
      ]}
    />
  );
}

/** Returns the width of an element, as it changes. */
function useWidth(): [number, React.RefObject<HTMLDivElement | null>] {
  const element = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (element.current === null) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      setWidth(Math.floor(Math.min(entry?.contentRect.width ?? 0, 880)));
    });
    observer.observe(element.current);
    return () => {
      observer.disconnect();
    };
  }, []);
  return [width, element];
}
