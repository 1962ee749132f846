import { Link } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import type { ArtifactGraph } from '../../gen/muniment/v1/portal_pb';
import { count, Text } from '../../records';
import { Button, classes, shortDigest } from '../../ui';
import { isNode, layOut, OPEN_COLUMN, relationOf, type Layout, type Place } from './layout';
import { entriesOf } from './Relations';
import styles from './artifact.module.css';

const width = 208;
const height = 52;
const gapX = 64;
const gapY = 12;
const top = 32; // the headings of the columns

interface Spot {
  x: number;
  y: number;
}

/** Returns where each place is drawn, with each column in the middle. */
function spotsOf({ columns, places, rows }: Layout): Map<string, Spot> {
  const counts = new Map<number, number>();
  for (const { column } of places) counts.set(column, (counts.get(column) ?? 0) + 1);
  return new Map(
    places.map(({ key, column, row }) => {
      const missing = rows - (counts.get(column) ?? 0);
      return [
        key,
        {
          x: columns.indexOf(column) * (width + gapX),
          y: top + (row + missing / 2) * (height + gapY),
        },
      ];
    }),
  );
}

function curve(from: Spot, to: Spot): string {
  const [x1, y1, x2, y2] = [from.x + width, from.y + height / 2, to.x, to.y + height / 2];
  const middle = (x1 + x2) / 2;
  return `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
}

/** The artifacts in columns, from what was used to what was made of it. Each is a link. */
export function Graph({ graph }: { graph: ArtifactGraph }) {
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const layout = useMemo(() => layOut(graph, open), [graph, open]);
  const spots = useMemo(() => spotsOf(layout), [layout]);
  const size = {
    width: layout.columns.length * (width + gapX) - gapX,
    height: top + layout.rows * (height + gapY),
  };
  const toggle = (column: number) => {
    const next = new Set(open);
    if (!next.delete(column)) next.add(column);
    setOpen(next);
  };
  return (
    <div className={styles.graph} role="region" aria-label="Graph of related artifacts" tabIndex={0}>
      <div className={styles.canvas} style={size}>
        <svg className={styles.lines} width={size.width} height={size.height} aria-hidden="true" focusable="false">
          {layout.lines.map(({ from, to }) => {
            const [a, b] = [spots.get(from.key), spots.get(to.key)];
            return a && b ? <path key={`${from.key} ${to.key}`} d={curve(a, b)} /> : null;
          })}
        </svg>
        {layout.columns.map((column, i) => (
          <section key={column} aria-label={relationOf(column)}>
            <h3 className={styles.column} style={{ left: i * (width + gapX), width }}>
              {relationOf(column)}
            </h3>
            {layout.places
              .filter((place) => place.column === column)
              .map((place) => (
                <div key={place.key} className={styles.place} style={{ ...at(spots.get(place.key)), width, height }}>
                  <Shown place={place} toggle={toggle} />
                </div>
              ))}
          </section>
        ))}
      </div>
    </div>
  );
}

const at = (spot: Spot | undefined) => ({
  left: spot?.x ?? 0,
  top: spot?.y ?? 0,
});

function Shown({ place, toggle }: { place: Place; toggle: (column: number) => void }) {
  if (!isNode(place))
    return (
      <Button
        className={styles.more ?? ''}
        onPress={() => {
          toggle(place.column);
        }}
      >
        {!place.open && `${place.more.length.toLocaleString()} more`}
        {place.open && (place.more.length > 0 ? `Show fewer: ${OPEN_COLUMN} shown, the table has all` : 'Show fewer')}
      </Button>
    );
  const { node } = place;
  const [name] = node.names;
  return (
    <Link
      to="/artifacts/$digest"
      params={{ digest: node.digest }}
      className={classes(styles.node, node.root && styles.root)}
      title={node.digest}
      {...(node.root && { 'aria-current': 'true' })}
    >
      <span className={styles.name}>
        {name === undefined ? <code>{shortDigest(node.digest)}</code> : <Text>{name}</Text>}
      </span>
      <span className={styles.small}>{count(entriesOf(node), 'entry', 'entries')}</span>
    </Link>
  );
}
