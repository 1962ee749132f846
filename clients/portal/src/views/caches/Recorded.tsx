import { getRouteApi } from '@tanstack/react-router';
import { EntryLink, Text } from '../../records';
import { usePerson } from '../../session/session';
import { formatNumber, Notice, Panel, Status, Table, Time, type Column } from '../../ui';
import { Proof } from '../backfills/Proof';
import { usePayload } from '../backfills/verified';
import { answersOf, snapshotOf, type Answers, type Cache, type Metric } from './windows';
import styles from '../backfills/backfills.module.css';

const route = getRouteApi('/members/caches/$service');

/** The payload of one window: that of the address, or the latest. */
export function Recorded({ cache: { windows, newest } }: { cache: Cache }) {
  const { window = '' } = route.useSearch();
  const { tenant } = usePerson();
  const shown = windows.find(({ index }) => String(index) === window) ?? newest;
  const proven = usePayload(tenant, shown.index);
  const snapshot = proven.payload && snapshotOf(proven.payload);
  const answers = snapshot && answersOf(snapshot);
  return (
    <div id="window" className={styles.target}>
      <Panel
        title="Window"
        note={
          <>
            <Time at={shown.from} /> to <Time at={shown.to} />, <EntryLink index={shown.index} />
          </>
        }
        flush
      >
        <Proof of={proven} label="the window">
          {snapshot === undefined ? (
            <div className="stack">
              <Notice tone="warn" title="The window has no metrics in a known form" />
            </div>
          ) : (
            <>
              {answers && (
                <p className="stack">
                  <Checked of={answers} />
                </p>
              )}
              <Table
                label="Metrics of the window"
                rows={snapshot.metrics}
                rowKey={({ name }, i) => `${name} ${i}`}
                columns={columns}
              />
            </>
          )}
        </Proof>
      </Panel>
    </div>
  );
}

/** Whether each answer from memory was checked for staleness. */
function Checked({ of: { fromMemory, reads, allowed } }: { of: Answers }) {
  const isChecked = fromMemory <= allowed;
  return (
    <span className={styles.inline}>
      <Status tone={isChecked ? 'good' : 'bad'}>{isChecked ? 'Nothing stale' : 'Not all checked'}</Status>
      <span>
        {formatNumber(fromMemory)} of {formatNumber(reads)} reads were answered from memory,{' '}
        {isChecked ? 'each after a check' : `and ${formatNumber(allowed)} checks allowed it`}
      </span>
    </span>
  );
}

/** From docs/spec/adaptive-cache.md, section 15. */
const meanings: Readonly<Record<string, string>> = {
  hit_ratio: 'hits among the reads',
  wait_p50: 'half of the reads waited at most so long for the origin',
  wait_p99: '99 % of the reads waited at most so long for the origin',
  stale_checked: 'checks whether an entry or a result can be used',
  stale_refused: 'of these, those that found it dead or not allowed',
  invalidations: 'applied by the process, for all of its caches',
  compared: 'loaded values that were compared with an entry',
  differed: 'of these, values that had changed without an invalidation',
  ttl_raised: 'times the lifetime of a value became longer',
  ttl_lowered: 'times the lifetime of a value became shorter',
  loads: 'loads of the origin',
  failed_loads: 'loads that failed, timed out or were refused',
  bypassed: 'reads while the cache was switched off',
  ttl: 'lifetime of the last value',
  load_p99: '99 % of recent loads took at most so long',
  entries: 'entries in memory',
  hot_keys: 'keys whose entries are not evicted',
  lost_entries: 'earlier windows that are missing in the ledger',
};

const columns: readonly Column<Metric>[] = [
  { id: 'name', header: 'Metric', cell: ({ name }) => <Text>{name}</Text> },
  {
    id: 'value',
    header: 'Value',
    align: 'end',
    cell: ({ value, unit }) => (
      <Text>{unit === '1' || unit === 'ratio' ? formatNumber(value) : `${formatNumber(value)} ${unit}`}</Text>
    ),
  },
  {
    id: 'meaning',
    header: 'Meaning',
    cell: ({ name }) => (Object.hasOwn(meanings, name) ? meanings[name] : ''),
    optional: true,
  },
];
