import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useMemo } from 'react';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { count, EntryLink, Text } from '../../records';
import { usePaging } from '../../records/paging';
import { usePerson } from '../../session/session';
import { Ago, Answer, Empty, formatNumber, Page, Pages, Panel, Table, type Column } from '../../ui';
import { Share } from '../overview/parts';
import { JobLink, JobState, Verdict } from './parts';
import { jobsOf, percentOf, stepOf, type Job } from './steps';

const route = getRouteApi('/members/backfills');

/** Entries of a page: those of a job with checkpoints every 5 % are about 80. */
const pageSize = 1000;

/** The backfills, that with the newest step first. */
export function View() {
  const { page, from } = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant } = usePerson();
  const query = useQuery(
    LedgerService.method.listEntries,
    { tenant, filter: { kind: 'backfill-step' }, pageSize, pageToken: page ?? '' },
    { placeholderData: keepPreviousData },
  );
  const pages = usePaging({ page, from }, query.data?.nextPageToken ?? '', ({ search, state }) => {
    void navigate({ search, state });
  });
  return (
    <Page
      title="Backfills"
      lead="Online changes of columns, which the conductor records step by step: what was copied, how each checkpoint was judged, and whether the way back was rehearsed."
    >
      <Answer query={query} label="Loading backfills">
        {({ entries }) => <Jobs entries={entries} pages={pages} />}
      </Answer>
    </Page>
  );
}

function Jobs({ entries, pages }: { entries: readonly Entry[]; pages: ReturnType<typeof usePaging> }) {
  const jobs = useMemo(() => jobsOf(entries.flatMap((entry) => stepOf(entry) ?? [])), [entries]);
  return (
    <Panel title={count(jobs.length, 'backfill')} note="By their newest steps" flush>
      <Table
        label="Backfills"
        rows={jobs}
        rowKey={({ digest }) => digest}
        columns={columns}
        empty={
          <Empty title="No backfill has been recorded">
            Run one with <code>conductor backfill run JOB.yaml</code>, described in Muniment’s documentation:
            docs/backfill.md.
          </Empty>
        }
      />
      <Pages label="steps of backfills" {...pages} count={entries.length} />
    </Panel>
  );
}

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
