import { getRouteApi } from '@tanstack/react-router';
import { EntryLink, Text } from '../../records';
import { usePerson } from '../../session/session';
import { formatNumber, Notice, Panel, Status, Table, type Column, type Tone } from '../../ui';
import { Words } from '../overview/parts';
import { Verdict } from './parts';
import { reportOf, type Check } from './payloads';
import { Proof } from './Proof';
import { judged, type Job } from './steps';
import { usePayload } from './verified';
import styles from './backfills.module.css';

const route = getRouteApi('/members/backfills/$digest');

/** The checks of one checkpoint: that of the address, or the newest. */
export function Canary({ job }: { job: Job }) {
  const { checkpoint = '' } = route.useSearch();
  const { tenant } = usePerson();
  const shown = judged(job.steps).find(({ index }) => String(index) === checkpoint) ?? job.checkpoint;
  const proven = usePayload(tenant, shown?.index);
  if (shown === undefined) return null;
  const report = proven.payload && reportOf(proven.payload);
  return (
    <div id="canary" className={styles.target}>
      <Panel
        title={`Canary analysis at ${shown.checkpoint}`}
        note={
          <>
            <EntryLink index={shown.index} />. Data checks compare rows, and the others windows with and without the
            copy
          </>
        }
        flush
      >
        <Proof of={proven} label="the canary analysis">
          {report === undefined ? (
            <div className="stack">
              <Notice tone="warn" title="The checkpoint has no report in a known form" />
            </div>
          ) : (
            <>
              <p className="stack">
                <span className={styles.inline}>
                  <Verdict of={shown.verdict} /> <Text>{report.summary}</Text>
                </span>
              </p>
              <Table
                label={`Checks at ${shown.checkpoint}`}
                rows={report.results}
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

const results: Readonly<Record<string, readonly [Tone, string]>> = {
  pass: ['good', 'Pass'],
  fail: ['bad', 'Fail'],
  inconclusive: ['warn', 'Inconclusive'],
};

function CheckResult({ of }: { of: string }) {
  const [tone, word] = (Object.hasOwn(results, of) && results[of]) || (['neutral', of] as const);
  return (
    <Status tone={tone}>
      <Text>{word}</Text>
    </Status>
  );
}

const amount = (value: number | undefined) => (value === undefined ? '–' : formatNumber(value));

const columns: readonly Column<Check>[] = [
  {
    id: 'name',
    header: 'Check',
    cell: ({ name, required }) => (
      <>
        <Words>{name}</Words>
        {!required && <span className={styles.muted}> (reported only)</span>}
      </>
    ),
  },
  { id: 'kind', header: 'Kind', cell: ({ kind }) => <Words>{kind}</Words>, optional: true },
  { id: 'result', header: 'Result', cell: ({ result }) => <CheckResult of={result} /> },
  { id: 'on', header: 'With the copy', align: 'end', cell: ({ on }) => amount(on), optional: true },
  { id: 'off', header: 'Without', align: 'end', cell: ({ off }) => amount(off), optional: true },
  {
    id: 'reason',
    header: 'Reason',
    cell: ({ reason }) => (
      <span className={styles.reason}>
        <Text>{reason}</Text>
      </span>
    ),
  },
];
