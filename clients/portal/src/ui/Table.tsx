import { useVirtualizer } from '@tanstack/react-virtual';
import { useRef, type ReactNode } from 'react';
import { classes } from './classes';
import styles from './Table.module.css';

/** A column. The first names the row. */
export interface Column<Row> {
  id: string;
  header: ReactNode;
  cell: (row: Row) => ReactNode;
  /** Numbers stand at the end. */
  align?: 'start' | 'end';
  /** Narrow screens do without it. */
  optional?: boolean;
}

interface Props<Row> {
  /** Names the table for people who don't see its surroundings. */
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row, index: number) => string | number;
  /** Shown instead of the rows if there are none. */
  empty?: ReactNode;
  /** Number of the first row, if the rows are a page of a longer list. From 0. */
  offset?: number;
  /** Rows of the whole list, if it is known to be longer. */
  total?: number;
}

/** More rows are drawn only while they are in sight. */
const virtualFrom = 200;
const rowHeight = 37;

/**
 * A table. Long ones scroll on their own and draw the rows in sight. What
 * scrolls is a group and no landmark: the panel around it is one, often with
 * the same name.
 */
export function Table<Row>(props: Props<Row>) {
  const { rows, empty } = props;
  if (rows.length === 0 && empty !== undefined) return <div className={styles.nothing}>{empty}</div>;
  return rows.length > virtualFrom ? <LongTable {...props} /> : <ShortTable {...props} />;
}

function ShortTable<Row>({ label, columns, rows, rowKey, offset = 0, total }: Props<Row>) {
  return (
    <div className={styles.scroll} role="group" aria-label={label} tabIndex={0}>
      <table className={styles.table} aria-label={label} aria-rowcount={total === undefined ? undefined : total + 1}>
        <Head columns={columns} />
        <tbody>
          {rows.map((row, i) => (
            <Cells
              key={rowKey(row, i)}
              row={row}
              columns={columns}
              {...(total !== undefined && { position: offset + i })}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function LongTable<Row>({ label, columns, rows, rowKey, offset = 0, total = rows.length }: Props<Row>) {
  const scroll = useRef<HTMLDivElement>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- the virtualizer redraws the rows itself
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => rowHeight,
    overscan: 12,
  });
  const items = virtual.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  return (
    <div className={classes(styles.scroll, styles.long)} role="group" aria-label={label} tabIndex={0} ref={scroll}>
      <table className={styles.table} aria-label={label} aria-rowcount={total + 1}>
        <Head columns={columns} />
        <tbody>
          <Space height={before} columns={columns.length} />
          {items.map(({ index }) => {
            const row = rows[index];
            return row === undefined ? null : (
              <Cells
                key={rowKey(row, index)}
                row={row}
                columns={columns}
                position={offset + index}
                measure={virtual.measureElement}
                index={index}
              />
            );
          })}
          <Space height={after} columns={columns.length} />
        </tbody>
      </table>
    </div>
  );
}

function Head<Row>({ columns }: { columns: readonly Column<Row>[] }) {
  return (
    <thead>
      <tr aria-rowindex={1}>
        {columns.map((column) => (
          <th key={column.id} scope="col" className={cellClass(column)}>
            {column.header}
          </th>
        ))}
      </tr>
    </thead>
  );
}

function Cells<Row>({
  row,
  columns,
  position,
  measure,
  index,
}: {
  row: Row;
  columns: readonly Column<Row>[];
  position?: number;
  measure?: (element: HTMLTableRowElement | null) => void;
  index?: number;
}) {
  return (
    <tr ref={measure} data-index={index} aria-rowindex={position === undefined ? undefined : position + 2}>
      {columns.map((column, i) =>
        i === 0 ? (
          <th key={column.id} scope="row" className={cellClass(column)}>
            {column.cell(row)}
          </th>
        ) : (
          <td key={column.id} className={cellClass(column)}>
            {column.cell(row)}
          </td>
        ),
      )}
    </tr>
  );
}

function Space({ height, columns }: { height: number; columns: number }) {
  if (height <= 0) return null;
  return (
    <tr aria-hidden="true" className={styles.space}>
      <td colSpan={columns} style={{ height }} />
    </tr>
  );
}

const cellClass = <Row,>({ align, optional }: Column<Row>) =>
  classes(align === 'end' && styles.end, optional === true && styles.optional);
