import { getRouteApi } from '@tanstack/react-router';
import type { ListEntriesResponse } from '../../gen/muniment/v1/ledger_pb';
import { EntryList } from '../../records/List';
import { Ago, Empty, formatNumber, type Column } from '../../ui';
import { CacheLink, HitRatio, millis, Zero } from './parts';
import { cachesOf, sumOf, windowOf, type Cache } from './windows';

const route = getRouteApi('/members/caches');

/** Entries of a page: those of one day of a cache with windows of five minutes are 288. */
const pageSize = 500;

/** The caches, that with the newest window first. */
export function View() {
  const navigate = route.useNavigate();
  return (
    <EntryList
      title="Caches"
      lead="What adaptive caches have recorded per window of time: how many reads they answered, how long the others waited, and whether anything stale was found."
      one="cache"
      note="By their newest windows"
      kind="metric-snapshot"
      size={pageSize}
      paged="windows of caches"
      at={route.useSearch()}
      go={(move) => void navigate(move)}
      rows={rowsOf}
      rowKey={({ service }) => service}
      columns={columns}
      empty={
        <Empty title="No cache has recorded a window">
          Services in Go record them with the package <code>cachereport</code>, and those in TypeScript with the class{' '}
          <code>Reporter</code> of <code>@muniment/adaptive-cache/report</code>. Both are described in Muniment’s
          documentation: docs/cache.md.
        </Empty>
      }
    />
  );
}

const rowsOf = ({ entries }: ListEntriesResponse) => cachesOf(entries.flatMap((entry) => windowOf(entry) ?? []));

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
