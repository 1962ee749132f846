import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { useMemo } from 'react';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { count } from '../../records';
import { usePaging } from '../../records/paging';
import { usePerson } from '../../session/session';
import { Ago, Answer, Empty, formatNumber, Page, Pages, Panel, Table, type Column } from '../../ui';
import { CacheLink, HitRatio, millis, Zero } from './parts';
import { cachesOf, sumOf, windowOf, type Cache } from './windows';

const route = getRouteApi('/members/caches');

/** Entries of a page: those of one day of a cache with windows of five minutes are 288. */
const pageSize = 500;

/** The caches, that with the newest window first. */
export function View() {
  const { page, from } = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant } = usePerson();
  const query = useQuery(
    LedgerService.method.listEntries,
    { tenant, filter: { kind: 'metric-snapshot' }, pageSize, pageToken: page ?? '' },
    { placeholderData: keepPreviousData },
  );
  const pages = usePaging({ page, from }, query.data?.nextPageToken ?? '', ({ search, state }) => {
    void navigate({ search, state });
  });
  return (
    <Page
      title="Caches"
      lead="What adaptive caches have recorded per window of time: how many reads they answered, how long the others waited, and whether anything stale was found."
    >
      <Answer query={query} label="Loading caches">
        {({ entries }) => <Caches entries={entries} pages={pages} />}
      </Answer>
    </Page>
  );
}

function Caches({ entries, pages }: { entries: readonly Entry[]; pages: ReturnType<typeof usePaging> }) {
  const caches = useMemo(() => cachesOf(entries.flatMap((entry) => windowOf(entry) ?? [])), [entries]);
  return (
    <Panel title={count(caches.length, 'cache')} note="By their newest windows" flush>
      <Table
        label="Caches"
        rows={caches}
        rowKey={({ service }) => service}
        columns={columns}
        empty={
          <Empty title="No cache has recorded a window">
            Services record them with the package <code>cachereport</code>, described in Muniment’s documentation:
            docs/cache.md.
          </Empty>
        }
      />
      <Pages label="windows of caches" {...pages} count={entries.length} />
    </Panel>
  );
}

const columns: readonly Column<Cache>[] = [
  { id: 'cache', header: 'Cache', cell: ({ service }) => <CacheLink service={service} /> },
  { id: 'hits', header: 'Hit ratio', cell: ({ newest }) => <HitRatio of={newest} /> },
  {
    id: 'p99',
    header: 'p99',
    align: 'end',
    cell: ({ newest: { metrics } }) => millis(metrics.get('wait_p99')),
  },
  {
    id: 'differed',
    header: 'Changed without an invalidation',
    cell: (cache) => <Zero of={sumOf(cache, 'differed')} />,
  },
  {
    id: 'checked',
    header: 'Checked',
    align: 'end',
    cell: (cache) => formatNumber(sumOf(cache, 'stale_checked')),
    optional: true,
  },
  {
    id: 'refused',
    header: 'Refused',
    align: 'end',
    cell: (cache) => formatNumber(sumOf(cache, 'stale_refused')),
    optional: true,
  },
  {
    id: 'windows',
    header: 'Windows',
    align: 'end',
    cell: ({ windows }) => formatNumber(windows.length),
    optional: true,
  },
  { id: 'newest', header: 'Newest window', cell: ({ newest }) => <Ago at={newest.to} />, optional: true },
];
