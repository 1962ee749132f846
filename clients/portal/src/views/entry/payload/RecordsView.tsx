import { useDeferredValue, useId, useMemo, useState } from 'react';
import { Digest, Evidence, formatNumber, Status, Table, Time, type Tone } from '../../../ui';
import type { Records, Style } from './document';
import styles from './PayloadPanel.module.css';

/** Rows from which on a table can be filtered. */
const filterFrom = 12;

/** A table of a payload, which can be filtered. */
export function RecordsView({ records }: { records: Records }) {
  const { name, columns, rows, more } = records;
  const [filter, setFilter] = useState('');
  const wanted = useDeferredValue(filter.trim().toLowerCase());
  const texts = useMemo(() => rows.map((row) => row.join('\n').toLowerCase()), [rows]);
  const shown = useMemo(
    () => (wanted === '' ? rows : rows.filter((_, i) => texts[i]?.includes(wanted) === true)),
    [rows, texts, wanted],
  );
  const id = useId();
  return (
    <section className={styles.records} aria-labelledby={id}>
      <header className={styles.recordsHeader}>
        <h3 id={id}>
          <Evidence text={name} />
        </h3>
        <span className={styles.count} role="status">
          {wanted === '' ? formatNumber(rows.length) : `${formatNumber(shown.length)} of ${formatNumber(rows.length)}`}
        </span>
        {rows.length >= filterFrom && (
          <input
            type="search"
            className={styles.filter}
            aria-label={`Filter ${name}`}
            placeholder="Filter"
            value={filter}
            onChange={(event) => {
              setFilter(event.target.value);
            }}
          />
        )}
      </header>
      <Table
        label={name}
        rows={shown}
        rowKey={(_, i) => i}
        empty={<p>No row contains this text.</p>}
        columns={columns.map(({ name: heading, style }, i) => ({
          id: String(i),
          header: <Evidence text={heading} />,
          cell: (row: string[]) => <Value value={row[i] ?? ''} style={style} />,
        }))}
      />
      {more > 0 && (
        <p className={styles.more}>{formatNumber(more)} more rows are not shown. Download the payload to see them.</p>
      )}
    </section>
  );
}

/** Tones of words by which documents state results. Compared without regard to case. */
const tones = new Map<string, Tone>([
  ...[
    'passed',
    'pass',
    'satisfied',
    'admitted',
    'verified',
    'fixed',
    'not_affected',
    'resolved',
    'succeeded',
    'yes',
    'approve',
  ].map((word) => [word, 'good'] as const),
  ...['failed', 'blocked', 'violated', 'affected', 'not-verified', 'no', 'reject', 'revoke'].map(
    (word) => [word, 'bad'] as const,
  ),
  ...[
    'warned',
    'undecided',
    'under_investigation',
    'error',
    'open',
    'reopened',
    'in-progress',
    'excepted',
    'rolled-back',
  ].map((word) => [word, 'warn'] as const),
]);

const severities = new Map<string, Tone>([
  ['critical', 'bad'],
  ['high', 'bad'],
  ['error', 'bad'],
  ['medium', 'warn'],
  ['warning', 'warn'],
  ['low', 'info'],
  ['note', 'info'],
  ['info', 'info'],
]);

/** One value of a payload. */
export function Value({ value, style }: { value: string; style?: Style | undefined }) {
  if (value === '') return <span className={styles.none}>–</span>;
  switch (style) {
    case 'result':
      return (
        <Status tone={tones.get(value.toLowerCase()) ?? 'neutral'}>
          <Evidence text={value} most={80} />
        </Status>
      );
    case 'severity':
      return (
        <Status tone={severities.get(value) ?? 'neutral'}>
          <Evidence text={value} most={80} />
        </Status>
      );
    case 'time':
      return /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(Date.parse(value)) ? (
        <Time at={value} />
      ) : (
        <Evidence text={value} />
      );
    case 'digest':
      return value
        .split(' ')
        .map((one, i) =>
          /^[A-Za-z0-9_.-]+:[0-9A-Fa-f]{16,128}$/.test(one) ? (
            <Digest key={i} value={one} />
          ) : (
            <Evidence key={i} text={one} mono />
          ),
        );
    case 'mono':
      return <Evidence text={value} mono />;
    default:
      return <Evidence text={value} />;
  }
}
