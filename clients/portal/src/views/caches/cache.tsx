import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { count, EntryLink, visible } from '../../records';
import { usePerson } from '../../session/session';
import {
  Answer,
  Button,
  Chart,
  Columns,
  Empty,
  Fact,
  Facts,
  formatNumber,
  Notice,
  Page,
  Panel,
  Table,
  Time,
  type ChartData,
  type Column,
} from '../../ui';
import { Receipts } from '../backfills/Receipts';
import { changeChart, checkChart, hitChart, waitChart } from './charts';
import { HitRatio, millis, Zero } from './parts';
import { cachesOf, sumOf, windowOf, type Cache, type Window } from './windows';
import { Recorded } from './Recorded';

const route = getRouteApi('/members/caches/$service');

/** The windows of more than one day, if they are five minutes long. */
const most = 500;

/** One cache, by its newest windows. */
export function View() {
  const { service } = route.useParams();
  const { tenant } = usePerson();
  const query = useQuery(
    LedgerService.method.listEntries,
    { tenant, filter: { kind: 'metric-snapshot', attribute: `service=${service}` }, pageSize: most },
    { placeholderData: keepPreviousData },
  );
  const cache = useMemo(
    () => cachesOf(query.data?.entries.flatMap((entry) => windowOf(entry) ?? []) ?? [])[0],
    [query.data],
  );
  return (
    <Page title={`Cache ${visible(service)}`} lead="What the service has recorded about it, per window of time.">
      <Answer query={query} label="Loading the cache" lines={10}>
        {({ entries, nextPageToken }) =>
          cache === undefined ? (
            <Empty title="The log has no windows of this cache">
              Check its name, which is that of the service and the resolver. <Link to="/caches">Show all caches</Link>
            </Empty>
          ) : (
            <>
              {nextPageToken !== '' && (
                <Notice tone="info" title={`Only the newest ${most} windows of this cache are shown`} />
              )}
              <Whole cache={cache} entries={entries} />
            </>
          )
        }
      </Answer>
    </Page>
  );
}

function Whole({ cache, entries }: { cache: Cache; entries: readonly Entry[] }) {
  const { windows, service } = cache;
  const charts = useMemo(
    () =>
      [
        ['Hit ratio', 'Of the reads of each window', hitChart(windows)],
        ['Waits', 'Of reads for the origin, and how long its loads took', waitChart(windows)],
        ['Staleness checks', 'Before each answer from memory', checkChart(windows)],
        ['Changes', 'Of what the cache holds', changeChart(windows)],
      ] as const satisfies readonly (readonly [string, string, ChartData])[],
    [windows],
  );
  return (
    <>
      <Columns>
        <Summary cache={cache} />
        <Receipts key={service} entries={entries} />
      </Columns>
      {windows.length > 1 && (
        <Columns>
          {charts.map(([title, note, data]) => (
            <Panel key={title} title={title} note={note}>
              <Chart label={`${title} of ${visible(service)}`} data={data} />
            </Panel>
          ))}
        </Columns>
      )}
      <Recorded cache={cache} />
      <Windows cache={cache} />
    </>
  );
}

/** What holds over all windows that are shown. */
function Summary({ cache }: { cache: Cache }) {
  const { windows, newest } = cache;
  const sum = (name: string) => formatNumber(sumOf(cache, name));
  const oldest = windows.at(-1) ?? newest;
  return (
    <Panel title={count(windows.length, 'window')}>
      <Facts>
        <Fact name="Time">
          <Time at={oldest.from} /> to <Time at={newest.to} />
        </Fact>
        <Fact name="Staleness checks">
          {sum('stale_checked')}, which refused {sum('stale_refused')} dead entries and results
        </Fact>
        <Fact name="Changed without an invalidation">
          <Zero of={sumOf(cache, 'differed')} /> of {sum('compared')} loaded values that were compared
        </Fact>
        <Fact name="Invalidations">{sum('invalidations')}</Fact>
        <Fact name="Lifetimes">
          {sum('ttl_raised')} times longer, {sum('ttl_lowered')} times shorter
        </Fact>
        <Fact name="Failed loads">
          <Zero of={sumOf(cache, 'failed_loads')} /> of {sum('loads')}
        </Fact>
        <Fact name="Lost windows">
          <EntryLink index={newest.index}>
            <Zero of={newest.metrics.get('lost_entries') ?? 0} />
          </EntryLink>
        </Fact>
      </Facts>
    </Panel>
  );
}

/** Rows of the table before somebody asks for all. */
const few = 24;

function Windows({ cache: { windows } }: { cache: Cache }) {
  const [areAll, setAll] = useState(false);
  return (
    <Panel title="Windows" note="The latest first" flush>
      <Table
        label="Windows"
        rows={areAll ? windows : windows.slice(0, few)}
        rowKey={({ index }) => String(index)}
        columns={columns}
        total={windows.length}
      />
      {!areAll && windows.length > few && (
        <div className="stack">
          <div>
            <Button
              onPress={() => {
                setAll(true);
              }}
            >
              Show all {windows.length} windows
            </Button>
          </div>
        </div>
      )}
    </Panel>
  );
}

const metric = ({ metrics }: Window, name: string): string => formatNumber(metrics.get(name) ?? 0);

const columns: readonly Column<Window>[] = [
  {
    id: 'to',
    header: 'End',
    cell: ({ service, index, to }) => (
      <Link
        to="/caches/$service"
        params={{ service }}
        search={{ window: String(index) }}
        hash="window"
        resetScroll={false}
        activeProps={{}}
      >
        <Time at={to} />
      </Link>
    ),
  },
  { id: 'hits', header: 'Hit ratio', cell: (window) => <HitRatio of={window} /> },
  { id: 'p99', header: 'p99', align: 'end', cell: ({ metrics }) => millis(metrics.get('wait_p99')) },
  { id: 'checked', header: 'Checked', align: 'end', cell: (window) => metric(window, 'stale_checked') },
  { id: 'refused', header: 'Refused', align: 'end', cell: (window) => metric(window, 'stale_refused') },
  { id: 'invalidations', header: 'Invalidations', align: 'end', cell: (window) => metric(window, 'invalidations') },
  {
    id: 'ttl',
    header: 'TTL changes',
    align: 'end',
    cell: ({ metrics }) => formatNumber((metrics.get('ttl_raised') ?? 0) + (metrics.get('ttl_lowered') ?? 0)),
    optional: true,
  },
  { id: 'hot', header: 'Hot keys', align: 'end', cell: (window) => metric(window, 'hot_keys'), optional: true },
  { id: 'entry', header: 'Entry', cell: ({ index }) => <EntryLink index={index} /> },
];
