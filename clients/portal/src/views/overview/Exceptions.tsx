import { Link } from '@tanstack/react-router';
import type { ExceptionRecord, OverviewExceptions } from '../../gen/muniment/v1/portal_pb';
import { ControlLink, ExceptionLink, ExceptionState, Who } from '../../records';
import { Ago, Empty, formatNumber, Panel, Table, type Column } from '../../ui';
import { Figure, Figures, Newest, Part } from './parts';
import { filterOf } from './state';
import styles from './overview.module.css';

/** The exceptions that need somebody soon. */
export function Exceptions({ of }: { of: OverviewExceptions }) {
  const { counts, expiring, expiringTotal, waiting, waitingTotal, connection } = of;
  return (
    <Panel title="Exceptions" note={<Newest of={connection} what="request" />} flush>
      <div className="stack">
        <Figures>
          {counts.map(({ state, count }) => (
            <Figure
              key={state}
              value={
                <Link to="/exceptions" search={{ show: filterOf(state) }}>
                  {formatNumber(count)}
                </Link>
              }
              label={<ExceptionState of={state} />}
            />
          ))}
        </Figures>
      </div>
      <Part
        title={
          <>
            <Link to="/exceptions" search={{ expires: '14d' }}>
              {formatNumber(expiringTotal)}
            </Link>{' '}
            in force expire within 14 days
          </>
        }
      >
        <Table
          label="Exceptions that expire soon"
          rows={expiring}
          rowKey={({ index }) => String(index)}
          columns={expiringColumns}
          empty={<Empty title="Nothing expires soon" />}
        />
      </Part>
      <Part
        title={
          <>
            <Link to="/exceptions" search={{ show: 'waiting' }}>
              {formatNumber(waitingTotal)}
            </Link>{' '}
            wait for an approval
          </>
        }
      >
        <Table
          label="Exceptions that wait for an approval"
          rows={waiting}
          rowKey={({ index }) => String(index)}
          columns={waitingColumns}
          empty={<Empty title="Nothing waits for an approval" />}
        />
      </Part>
    </Panel>
  );
}

const named: readonly Column<ExceptionRecord>[] = [
  { id: 'id', header: 'Exception', cell: ({ id, index }) => <ExceptionLink id={id} index={index} /> },
  {
    id: 'control',
    header: 'From control',
    cell: ({ control }) => (
      <span className={styles.words}>
        <ControlLink id={control} />
      </span>
    ),
  },
];

const expiringColumns: readonly Column<ExceptionRecord>[] = [
  ...named,
  { id: 'ends', header: 'Ends', cell: ({ expires }) => <Ago at={expires} /> },
];

const waitingColumns: readonly Column<ExceptionRecord>[] = [
  ...named,
  {
    id: 'requester',
    header: 'Requested by',
    cell: ({ requester }) => (
      <span className={styles.wide}>
        <Who person={requester} />
      </span>
    ),
  },
  { id: 'time', header: 'Since', cell: ({ time }) => <Ago at={time} /> },
  {
    id: 'approvals',
    header: 'Approvals',
    align: 'end',
    cell: ({ index, approvers, approversNeeded }) => (
      <ExceptionLink id={`${approvers.length} of ${approversNeeded}`} index={index} />
    ),
    optional: true,
  },
];
