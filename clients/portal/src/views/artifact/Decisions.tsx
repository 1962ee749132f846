import { getRouteApi, Link } from '@tanstack/react-router';
import type { RecentDecision } from '../../gen/muniment/v1/portal_pb';
import { DecisionState, EntryLink, Text } from '../../records';
import { dateOf, Empty, Panel, Table, Time, type Column } from '../../ui';

const route = getRouteApi('/members/artifacts/$digest');

/** The decisions of gates about the artifact, which an address can show again. */
export function Decisions({ decisions }: { decisions: readonly RecentDecision[] }) {
  return (
    <Panel title="Decisions of gates" note="Recorded by the log when a gate was asked, the newest first" flush>
      <Table
        label="Recorded decisions"
        rows={decisions}
        rowKey={({ index }) => String(index)}
        columns={columns}
        empty={
          <Empty title="No gate has asked about it">
            Ask one with muniment gate. What you see above is not recorded.
          </Empty>
        }
      />
    </Panel>
  );
}

const columns: readonly Column<RecentDecision>[] = [
  {
    id: 'time',
    header: 'Decided',
    cell: ({ decided }) => <Time at={decided} relative />,
  },
  {
    id: 'decision',
    header: 'Decision',
    cell: ({ decision }) => <DecisionState of={decision} />,
  },
  {
    id: 'where',
    header: 'Stage, environment',
    cell: ({ stage, environment }) => <Text>{environment === '' ? stage : `${stage}, ${environment}`}</Text>,
  },
  {
    id: 'entry',
    header: 'Entry',
    cell: ({ index }) => <EntryLink index={index} />,
  },
  { id: 'again', header: 'Why', cell: (d) => <Again of={d} />, optional: true },
];

function Again({ of: { decided, stage, environment } }: { of: RecentDecision }) {
  const { digest } = route.useParams();
  const date = decided && dateOf(decided);
  if (date === undefined) return null;
  return (
    <Link to="/artifacts/$digest" params={{ digest }} search={{ stage, environment, at: date.toISOString() }}>
      Decide again as of then
    </Link>
  );
}
