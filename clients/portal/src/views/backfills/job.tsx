import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { PortalService, type RecentDecision } from '../../gen/muniment/v1/portal_pb';
import { AsOf, count, DecisionState, EntryLink, Text, visible } from '../../records';
import { usePerson } from '../../session/session';
import {
  Answer,
  Columns,
  dateOf,
  Digest,
  Empty,
  Fact,
  Facts,
  formatNumber,
  Notice,
  Page,
  Panel,
  Status,
  Table,
  Time,
  useNow,
} from '../../ui';
import type { Column } from '../../ui';
import { Canary } from './Canary';
import { Checkpoints } from './Checkpoints';
import { JobState } from './parts';
import { Receipts } from './Receipts';
import { Rehearsal } from './Rehearsal';
import { jobOf, outcomeOf, progressAt, progressOf, stepOf, type Job, type Progress, type Step } from './steps';
import { Steps } from './Steps';
import styles from './backfills.module.css';

const route = getRouteApi('/members/backfills/$digest');

/** More entries than a job with a checkpoint at each percent has. */
const most = 1000;

/** One backfill: its steps, how its checkpoints were judged, and whether it can be cut over. */
export function View() {
  const { digest } = route.useParams();
  const { run } = route.useSearch();
  const { tenant } = usePerson();
  const isDigest = /^sha256:[0-9a-f]{64}$/u.test(digest);
  const query = useQuery(
    LedgerService.method.listEntries,
    { tenant, filter: { kind: 'backfill-step', subject: digest }, pageSize: most },
    { enabled: isDigest, placeholderData: keepPreviousData },
  );
  const job = useMemo(() => {
    const steps = query.data?.entries.flatMap((entry) => stepOf(entry) ?? []) ?? [];
    return jobOf(steps, run) ?? jobOf(steps);
  }, [query.data, run]);
  if (!isDigest)
    return (
      <Page title="Backfill">
        <Empty title="This is no SHA-256">A backfill is named by the SHA-256 of its job file.</Empty>
      </Page>
    );
  return (
    <Page
      title={job === undefined ? 'Backfill' : `Backfill ${visible(job.name)}`}
      lead={
        <span className={styles.inline}>
          {job && <JobState of={job.state} />}
          <Digest value={digest} label="SHA-256 of the job file" />
          <Link to="/artifacts/$digest" params={{ digest }}>
            All evidence about the file
          </Link>
        </span>
      }
    >
      <Answer query={query} label="Loading the backfill" lines={10}>
        {({ entries, nextPageToken }) =>
          job === undefined ? (
            <Empty title="The log has no steps of this backfill">
              Check the SHA-256. <Link to="/backfills">Show all backfills</Link>
            </Empty>
          ) : (
            <>
              {nextPageToken !== '' && (
                <Notice tone="info" title={`Only the newest ${most} entries of this job are shown`} />
              )}
              {job.runs.length > 1 && <Runs job={job} />}
              <Whole job={job} entries={entries} />
            </>
          )
        }
      </Answer>
    </Page>
  );
}

/** A file can be run again after a rollback. */
function Runs({ job }: { job: Job }) {
  return (
    <nav aria-label="Runs of the job" className={styles.inline}>
      {count(job.runs.length, 'run')}, the newest first:
      {job.runs.map((run) => (
        <Link
          key={run}
          to="/backfills/$digest"
          params={{ digest: job.digest }}
          search={{ run }}
          activeProps={{}}
          {...(run === job.run && { 'aria-current': 'page' })}
        >
          <Text>{run}</Text>
        </Link>
      ))}
    </nav>
  );
}

function Whole({ job, entries }: { job: Job; entries: readonly Entry[] }) {
  const { tenant } = usePerson();
  const artifact = useQuery(PortalService.method.getArtifact, { tenant, digest: job.digest });
  const progress = useQuery(LedgerService.method.listEntries, {
    tenant,
    filter: { kind: 'backfill-checkpoint', attribute: `entity=${job.entity}` },
    pageSize: most,
  });
  const known = useMemo(
    () => progress.data?.entries.flatMap((entry) => progressOf(entry) ?? []) ?? [],
    [progress.data],
  );
  const ofRun = useMemo(() => {
    const indexes = new Set(job.steps.map(({ index }) => index));
    return entries.filter(({ index }) => indexes.has(index));
  }, [entries, job]);
  const gate = artifact.data?.decisions ?? [];
  return (
    <>
      <Columns>
        <Now job={job} progress={known} gate={gate[0]} />
        <Receipts key={job.run} entries={ofRun} />
      </Columns>
      <Checkpoints job={job} progress={known} />
      <Canary job={job} />
      <Rehearsal job={job} />
      <Answer query={artifact} label="Loading the decisions of the gate" lines={3}>
        {({ decisions, state }) => <Gate decisions={decisions} state={<AsOf state={state} />} />}
      </Answer>
      <Steps steps={job.steps} />
    </>
  );
}

/** What holds now, each with the entry that shows it. */
function Now({ job, progress, gate }: { job: Job; progress: readonly Progress[]; gate: RecentDecision | undefined }) {
  const { steps, checkpoint } = job;
  return (
    <Panel title="Now">
      <Facts>
        <Fact name="Entity">
          <Text>{job.entity}</Text>
        </Fact>
        <Fact name="Differences">
          <Differences of={outcomeOf(steps, 'validation')} />
        </Fact>
        <Fact name="Rehearsal">
          <Rehearsed of={outcomeOf(steps, 'rehearsal')} />
        </Fact>
        <Fact name="Gate">
          {gate === undefined ? (
            'not asked'
          ) : (
            <EntryLink index={gate.index}>
              <DecisionState of={gate.decision} />
            </EntryLink>
          )}
        </Fact>
        <Fact name="Cutover">
          <Done of={outcomeOf(steps, 'cutover')} undone={outcomeOf(steps, 'rollback')} />
        </Fact>
        <Fact name="Rollback">
          <Ready job={job} of={checkpoint && progressAt(checkpoint, progress)} />
        </Fact>
      </Facts>
    </Panel>
  );
}

function Differences({ of }: { of: Step | undefined }) {
  if (of?.differences === undefined) return <>not validated</>;
  return (
    <EntryLink index={of.index}>
      <Status tone={of.differences === 0 ? 'good' : 'bad'}>
        {of.differences === 1 ? '1 row differs' : `${formatNumber(of.differences)} rows differ`}
      </Status>
    </EntryLink>
  );
}

function Rehearsed({ of }: { of: Step | undefined }) {
  const now = useNow();
  if (of === undefined) return <>none</>;
  const expires = dateOf(of.expires);
  const isOver = expires !== undefined && expires.getTime() < now;
  return (
    <>
      <EntryLink index={of.index}>
        {of.result !== 'succeeded' ? (
          <Status tone="bad">Failed</Status>
        ) : (
          <Status tone={isOver ? 'neutral' : 'good'}>Succeeded</Status>
        )}
      </EntryLink>
      {expires !== undefined && (
        <>
          , {isOver ? 'counted' : 'counts'} until <Time at={expires} />
        </>
      )}
    </>
  );
}

function Done({ of, undone }: { of: Step | undefined; undone: Step | undefined }) {
  if (of === undefined) return <>not yet</>;
  if (of.result !== 'succeeded')
    return (
      <EntryLink index={of.index}>
        <Status tone="bad">Refused or failed</Status>
      </EntryLink>
    );
  return (
    <>
      <EntryLink index={of.index}>
        <Time at={of.time} />
      </EntryLink>
      {undone !== undefined && undone.index > of.index && undone.result === 'succeeded' && (
        <>
          , rolled back in <EntryLink index={undone.index} />
        </>
      )}
    </>
  );
}

function Ready({ job, of }: { job: Job; of: Progress | undefined }) {
  if (job.state === 'finished') return <>no longer: the old column is gone</>;
  if (job.state === 'rolled-back') return <>done</>;
  if (of === undefined) return <>no checkpoint yet</>;
  return (
    <EntryLink index={of.index}>
      {of.rollbackReady ? <Status tone="good">Ready</Status> : <Status tone="warn">Not ready</Status>}
    </EntryLink>
  );
}

function Gate({ decisions, state }: { decisions: readonly RecentDecision[]; state: React.ReactNode }) {
  return (
    <Panel title="Decisions of the gate" note={state} flush>
      <Table
        label="Decisions of the gate"
        rows={decisions}
        rowKey={({ index }) => String(index)}
        columns={gateColumns}
        empty={<Empty title="The gate was not asked">The conductor asks it before a cutover.</Empty>}
      />
    </Panel>
  );
}

const gateColumns: readonly Column<RecentDecision>[] = [
  { id: 'time', header: 'Decided', cell: ({ decided }) => <Time at={decided} relative /> },
  { id: 'decision', header: 'Decision', cell: ({ decision }) => <DecisionState of={decision} /> },
  {
    id: 'where',
    header: 'Stage, environment',
    cell: ({ stage, environment }) => <Text>{environment === '' ? stage : `${stage}, ${environment}`}</Text>,
  },
  { id: 'entry', header: 'Entry', cell: ({ index }) => <EntryLink index={index} /> },
];
