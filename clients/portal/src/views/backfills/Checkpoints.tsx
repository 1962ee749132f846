import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { EntryLink, visible } from '../../records';
import { usePerson } from '../../session/session';
import { Chart, Empty, formatNumber, Panel, Status, Table, Time, type Column } from '../../ui';
import { Share } from '../overview/parts';
import { chartOf } from './chart';
import { Verdict } from './parts';
import { reportOf } from './payloads';
import { judged, percentOf, progressAt, type Job, type Progress, type Step } from './steps';
import { usePayload } from './verified';

interface Row {
  job: Job;
  step: Step;
  progress: Progress | undefined;
}

/** The progress, and the canary score of each checkpoint against the threshold. */
export function Checkpoints({ job, progress }: { job: Job; progress: readonly Progress[] }) {
  const { tenant } = usePerson();
  const checkpoints = useMemo(() => judged(job.steps), [job]);
  const newest = usePayload(tenant, job.checkpoint?.index);
  const threshold = newest.payload && reportOf(newest.payload)?.config.threshold;
  const data = useMemo(() => chartOf(checkpoints, threshold), [checkpoints, threshold]);
  const rows = checkpoints.map((step) => ({ job, step, progress: progressAt(step, progress) })).reverse();
  return (
    <Panel title="Checkpoints" note="Progress and canary score, the newest first" flush>
      {data.times.length > 1 && (
        <div className="stack">
          <Chart label={`Progress and canary score of ${visible(job.name)}`} data={data} />
        </div>
      )}
      <Table
        label="Checkpoints"
        rows={rows}
        rowKey={({ step }) => String(step.index)}
        columns={columns}
        empty={<Empty title="No checkpoint was judged">The first is due when the copy has made some progress.</Empty>}
      />
    </Panel>
  );
}

const columns: readonly Column<Row>[] = [
  {
    id: 'checkpoint',
    header: 'Checkpoint',
    cell: ({ step: { checkpoint } }) => <Share of={percentOf(checkpoint) / 100}>{checkpoint}</Share>,
  },
  {
    id: 'score',
    header: 'Canary score',
    align: 'end',
    cell: ({ step: { score } }) => (score === undefined ? 'none' : formatNumber(score)),
  },
  { id: 'verdict', header: 'Verdict', cell: ({ step: { verdict } }) => <Verdict of={verdict} /> },
  {
    id: 'rollback',
    header: 'Rollback',
    cell: ({ progress }) =>
      progress === undefined ? (
        'unknown'
      ) : (
        <EntryLink index={progress.index}>
          {progress.rollbackReady ? <Status tone="good">Ready</Status> : <Status tone="warn">Not ready</Status>}
        </EntryLink>
      ),
    optional: true,
  },
  {
    id: 'checks',
    header: 'Checks',
    cell: ({ job, step }) => (
      <Link
        to="/backfills/$digest"
        params={{ digest: job.digest }}
        search={{ run: job.run, checkpoint: String(step.index) }}
        hash="canary"
        resetScroll={false}
        activeProps={{}}
      >
        Show those of {step.checkpoint}
      </Link>
    ),
  },
  { id: 'time', header: 'Recorded', cell: ({ step: { time } }) => <Time at={time} />, optional: true },
  { id: 'entry', header: 'Entry', cell: ({ step: { index } }) => <EntryLink index={index} />, optional: true },
];
