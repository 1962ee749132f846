import { getRouteApi } from '@tanstack/react-router';
import type { ListEntriesResponse } from '../../gen/muniment/v1/ledger_pb';
import { EntryLink, Text } from '../../records';
import { EntryList } from '../../records/List';
import { Ago, Empty, formatNumber, type Column } from '../../ui';
import { Share } from '../overview/parts';
import { JobLink, JobState, Verdict } from './parts';
import { jobsOf, percentOf, stepOf, type Job } from './steps';

const route = getRouteApi('/members/backfills');

/** Entries of a page: those of a job with checkpoints every 5 % are about 80. */
const pageSize = 1000;

/** The backfills, that with the newest step first. */
export function View() {
  const navigate = route.useNavigate();
  return (
    <EntryList
      title="Backfills"
      lead="Online changes of columns, which the conductor records step by step: what was copied, how each checkpoint was judged, and whether the way back was rehearsed."
      one="backfill"
      note="By their newest steps"
      kind="backfill-step"
      size={pageSize}
      paged="steps of backfills"
      at={route.useSearch()}
      go={(move) => void navigate(move)}
      rows={rowsOf}
      rowKey={({ digest }) => digest}
      columns={columns}
      empty={
        <Empty title="No backfill has been recorded">
          Run one with <code>conductor backfill run JOB.yaml</code>, described in Muniment’s documentation:
          docs/backfill.md.
        </Empty>
      }
    />
  );
}

const rowsOf = ({ entries }: ListEntriesResponse) => jobsOf(entries.flatMap((entry) => stepOf(entry) ?? []));

const columns: readonly Column<Job>[] = [
  { id: 'job', header: 'Job', cell: ({ name, digest }) => <JobLink digest={digest}>{name}</JobLink> },
  { id: 'entity', header: 'Entity', cell: ({ entity }) => <Text>{entity}</Text> },
  { id: 'state', header: 'State', cell: ({ state }) => <JobState of={state} /> },
  {
    id: 'done',
    header: 'Checkpoint',
    cell: ({ checkpoint }) =>
      checkpoint === undefined ? (
        'none'
      ) : (
        <Share of={percentOf(checkpoint.checkpoint) / 100}>
          <EntryLink index={checkpoint.index}>{checkpoint.checkpoint}</EntryLink>
        </Share>
      ),
  },
  {
    id: 'score',
    header: 'Canary score',
    align: 'end',
    cell: ({ checkpoint }) => (checkpoint?.score === undefined ? 'none' : formatNumber(checkpoint.score)),
  },
  {
    id: 'verdict',
    header: 'Verdict',
    cell: ({ checkpoint }) => (checkpoint === undefined ? 'none' : <Verdict of={checkpoint.verdict} />),
    optional: true,
  },
  { id: 'newest', header: 'Newest step', cell: ({ steps }) => <Ago at={steps.at(-1)?.time} />, optional: true },
];
