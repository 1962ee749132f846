import { lazy, Suspense, useState } from 'react';
import { Button } from './Button';
import { Loading } from './State';
import { formatNumber, formatTime } from './format';
import { Table, type Column } from './Table';
import styles from './Chart.module.css';

/** One line or row of bars. Missing values are null. */
export interface Series {
  label: string;
  values: readonly (number | null)[];
  /** Draws bars instead of a line. */
  bars?: boolean;
}

export interface ChartData {
  /** Times in seconds since 1970, ascending. */
  times: readonly number[];
  /** At most four. */
  series: readonly Series[];
  /** A horizontal line, such as a budget. */
  limit?: { label: string; value: number };
  /** Formats the values. */
  format?: (value: number) => string;
}

const Plot = lazy(() => import('./Plot'));

/** A chart over time, with the same values as a table. */
export function Chart({ label, data }: { label: string; data: ChartData }) {
  const [asTable, setAsTable] = useState(false);
  const { times, series, limit, format = formatNumber } = data;
  return (
    <figure className={styles.figure}>
      <figcaption className={styles.caption}>
        <ul className={styles.legend}>
          {series.map((line, i) => (
            <li key={line.label}>
              <span
                className={styles.key}
                data-series={i + 1}
                data-bars={line.bars === true ? '' : undefined}
                aria-hidden="true"
              />
              {line.label}
            </li>
          ))}
          {limit && (
            <li>
              <span className={styles.key} data-limit="" aria-hidden="true" />
              {limit.label}: {format(limit.value)}
            </li>
          )}
        </ul>
        <Button
          kind="quiet"
          onPress={() => {
            setAsTable(!asTable);
          }}
        >
          {asTable ? 'Show as chart' : 'Show as table'}
        </Button>
      </figcaption>
      {asTable ? (
        <Table label={label} rows={times.map((_, i) => i)} rowKey={(row) => row} columns={columnsOf(data, format)} />
      ) : (
        <Suspense fallback={<Loading label={`Loading ${label}`} lines={4} />}>
          <div role="img" aria-label={`${label}. The button above shows the values as a table.`}>
            <Plot data={data} />
          </div>
        </Suspense>
      )}
    </figure>
  );
}

function columnsOf({ times, series }: ChartData, format: (value: number) => string): Column<number>[] {
  return [
    { id: 'time', header: 'Time', cell: (row) => formatTime(new Date((times[row] ?? 0) * 1000)) },
    ...series.map(({ label, values }): Column<number> => ({
      id: label,
      header: label,
      align: 'end',
      cell: (row) => {
        const value = values[row];
        return value === null || value === undefined ? 'none' : format(value);
      },
    })),
  ];
}
