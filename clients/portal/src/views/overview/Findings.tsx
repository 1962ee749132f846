import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { FindingsCount, OverviewFindings } from '../../gen/muniment/v1/portal_pb';
import { FindingState, Severity } from '../../records';
import { Chart, formatNumber, formatPercent, Panel, Table, type Column } from '../../ui';
import { burndownOf } from '../findings/burndown';
import { SEVERITIES } from '../findings/search';
import { Figure, Figures, Newest } from './parts';
import { shareOf } from './state';

/** The findings over 90 days, and those of today. */
export function Findings({ of }: { of: OverviewFindings }) {
  const { days, counts, total, overdue, resolved, connection } = of;
  const data = useMemo(() => burndownOf(days), [days]);
  return (
    <Panel title="Findings" note={<Newest of={connection} what="report" />} flush>
      <div className="stack">
        <Figures>
          <Figure
            value={
              <Link to="/findings" search={{ show: 'unresolved' }}>
                {formatNumber(total - resolved)}
              </Link>
            }
            label="not resolved"
          />
          <Figure
            value={
              <Link to="/findings" search={{ show: 'overdue' }}>
                {formatNumber(overdue)}
              </Link>
            }
            label="overdue"
          />
          <Figure
            value={
              <Link to="/findings" search={{ show: 'resolved' }}>
                {formatPercent(shareOf(resolved, total) ?? 0)}
              </Link>
            }
            label={`of ${formatNumber(total)} resolved with linked evidence`}
          />
        </Figures>
        <Chart label={`Findings over ${days.length} days`} data={data} />
      </div>
      <Table
        label="Findings by state and severity"
        rows={counts}
        rowKey={({ state, severity }) => `${state} ${severity}`}
        columns={columns}
      />
    </Panel>
  );
}

const columns: readonly Column<FindingsCount>[] = [
  { id: 'state', header: 'State', cell: ({ state }) => <FindingState of={state} /> },
  { id: 'severity', header: 'Severity', cell: ({ severity }) => <Severity of={severity} /> },
  {
    id: 'count',
    header: 'Findings',
    align: 'end',
    cell: ({ state, severity, count }) => {
      const known = SEVERITIES.find((one) => one === severity);
      return (
        <Link
          to="/findings"
          search={{ show: state === 'resolved' ? 'resolved' : 'unresolved', ...(known && { severity: known }) }}
        >
          {formatNumber(count)}
        </Link>
      );
    },
  },
];
