/** What connected systems report. */

import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type {
  Backfill,
  BackfillStepState,
  CacheService,
  OverviewBackfills,
  OverviewCaches,
  OverviewTriage,
  OverviewVerification,
  RecentAction,
  VerificationFailure,
  VerifierCounts,
} from '../../gen/muniment/v1/portal_pb';
import { ActionState, count, DecisionState, digestOf, EntryLink, Text, visible } from '../../records';
import {
  Ago,
  Chart,
  Empty,
  formatDuration,
  formatNumber,
  formatPercent,
  Panel,
  Status,
  Table,
  Time,
  type Column,
} from '../../ui';
import { JobLink, StepState } from '../backfills/parts';
import { Figure, Figures, Newest, Part, Share, Words } from './parts';
import { reportsOf, shareOf } from './state';
import { backfillTrend, hitTrend, latencyTrend } from './trends';

/** The progress of backfills, and the canary analysis of each. */
export function Backfills({ of }: { of: OverviewBackfills }) {
  const { backfills, total, connection } = of;
  const drawn = backfills.find(({ points }) => points.length > 1);
  const stepped = backfills.find(({ steps }) => steps.length > 0);
  const data = useMemo(() => (drawn === undefined ? undefined : backfillTrend(drawn.points)), [drawn]);
  return (
    <Panel
      title="Backfills"
      note={
        <>
          {total > BigInt(backfills.length) && `the newest ${backfills.length} of ${formatNumber(total)}; `}
          <Newest of={connection} what="checkpoint" />
        </>
      }
      actions={<Link to="/backfills">All backfills</Link>}
      flush
    >
      <Table
        label="Newest checkpoints of backfills"
        rows={backfills}
        rowKey={({ entity }) => entity}
        columns={backfillColumns}
      />
      {drawn !== undefined && data !== undefined && (
        <Part title={<Text>{drawn.entity}</Text>}>
          <div className="stack">
            <Chart label={`Progress and canary score of ${visible(drawn.entity)}`} data={data} />
          </div>
        </Part>
      )}
      {stepped !== undefined && (
        <Part
          title={
            <>
              Steps of <Text>{stepped.entity}</Text>
            </>
          }
        >
          <Table
            label="Newest steps of the backfill"
            rows={stepped.steps}
            rowKey={({ index }) => String(index)}
            columns={stepColumns}
          />
        </Part>
      )}
    </Panel>
  );
}

const stepColumns: readonly Column<BackfillStepState>[] = [
  {
    id: 'step',
    header: 'Step',
    cell: ({ step, checkpoint, index }) => (
      <EntryLink index={index}>
        <Text>{checkpoint === '' ? step : `${step} ${checkpoint}`}</Text>
      </EntryLink>
    ),
  },
  { id: 'result', header: 'Result', cell: (step) => <StepState of={step} /> },
  { id: 'actor', header: 'By', cell: ({ actor }) => <Text>{actor}</Text>, optional: true },
  { id: 'time', header: 'Recorded', cell: ({ time }) => <Ago at={time} /> },
];

const backfillColumns: readonly Column<Backfill>[] = [
  {
    id: 'entity',
    header: 'Entity',
    cell: ({ entity, job }) =>
      job === undefined ? <Text>{entity}</Text> : <JobLink digest={digestOf(job.digest)}>{entity}</JobLink>,
  },
  {
    id: 'percent',
    header: 'Done',
    cell: ({ percent, index }) => (
      <Share of={percent / 100}>
        <EntryLink index={index}>{formatPercent(percent / 100)}</EntryLink>
      </Share>
    ),
  },
  {
    id: 'aca',
    header: 'Canary score',
    align: 'end',
    cell: ({ acaScore, index }) => <EntryLink index={index}>{formatNumber(acaScore)}</EntryLink>,
  },
  {
    id: 'rollback',
    header: 'Rollback',
    cell: ({ rollbackReady }) =>
      rollbackReady ? <Status tone="good">Ready</Status> : <Status tone="warn">Not ready</Status>,
    optional: true,
  },
  {
    id: 'gate',
    header: 'Gate',
    cell: ({ gate }) =>
      gate === undefined ? (
        'not asked'
      ) : (
        <EntryLink index={gate.index}>
          <DecisionState of={gate.decision} />
        </EntryLink>
      ),
    optional: true,
  },
  { id: 'time', header: 'Checkpoint', cell: ({ time }) => <Ago at={time} />, optional: true },
];

/** A number of entries, which leads to the newest of them. */
const Counted = ({ n, at }: { n: bigint; at: bigint | undefined }) =>
  at === undefined || n === 0n ? <>{formatNumber(n)}</> : <EntryLink index={at}>{formatNumber(n)}</EntryLink>;

/** The actions in response to incidents, and how fast the first came. */
export function Triage({ of }: { of: OverviewTriage }) {
  const { counts, incidents, mttaSeconds, mttaIncidents, recent, since, connection } = of;
  return (
    <Panel
      title="Triage"
      note={
        <>
          {count(incidents, 'incident')} since <Time at={since} />; <Newest of={connection} what="action" />
        </>
      }
      actions={<Link to="/incidents">All incidents</Link>}
      flush
    >
      <div className="stack">
        <Figures>
          <Figure
            value={mttaSeconds === undefined ? 'none' : <Link to="/findings">{formatDuration(mttaSeconds)}</Link>}
            label={
              mttaSeconds === undefined
                ? 'mean time to action: no incident has a finding with its time of detection'
                : `mean time to action, of ${count(mttaIncidents, 'incident')}`
            }
          />
          {counts.map(({ result, count: n }) => (
            <Figure
              key={result}
              value={<Counted n={n} at={recent.find((one) => one.result === result)?.index ?? connection?.newest} />}
              label={<ActionState of={result} />}
            />
          ))}
        </Figures>
      </div>
      <Table
        label="The newest actions"
        rows={recent}
        rowKey={({ index }) => String(index)}
        columns={actionColumns}
        empty={<Empty title="No action within 30 days" />}
      />
    </Panel>
  );
}

const actionColumns: readonly Column<RecentAction>[] = [
  {
    id: 'incident',
    header: 'Incident',
    cell: ({ incident }) => (
      <Link to="/incidents/$id" params={{ id: incident }}>
        <Text>{incident}</Text>
      </Link>
    ),
  },
  { id: 'action', header: 'Action', cell: ({ action }) => <Words>{action}</Words> },
  { id: 'result', header: 'Result', cell: ({ result }) => <ActionState of={result} /> },
  { id: 'playbook', header: 'Playbook', cell: ({ playbook }) => <Text>{playbook}</Text>, optional: true },
  {
    id: 'started',
    header: 'Started',
    cell: ({ started, index }) => (
      <EntryLink index={index}>
        <Ago at={started} />
      </EntryLink>
    ),
  },
];

/** The latency and the hits of caches, by the newest snapshots. */
export function Caches({ of }: { of: OverviewCaches }) {
  const { services, total, connection } = of;
  const drawn = services.find(({ points }) => points.length > 1);
  const latency = useMemo(() => latencyTrend(drawn?.points ?? []), [drawn]);
  const hits = useMemo(() => hitTrend(drawn?.points ?? []), [drawn]);
  return (
    <Panel
      title="Caches"
      note={
        <>
          {total > BigInt(services.length) && `the newest ${services.length} of ${formatNumber(total)}; `}
          <Newest of={connection} what="snapshot" />
        </>
      }
      actions={<Link to="/caches">All caches</Link>}
      flush
    >
      <Table
        label="Newest snapshots of caches"
        rows={services}
        rowKey={({ service }) => service}
        columns={cacheColumns}
      />
      {drawn !== undefined && (latency !== undefined || hits !== undefined) && (
        <Part title={<Text>{drawn.service}</Text>}>
          <div className="stack">
            {latency !== undefined && <Chart label={`p99 of ${visible(drawn.service)}`} data={latency} />}
            {hits !== undefined && <Chart label={`Hit ratio of ${visible(drawn.service)}`} data={hits} />}
          </div>
        </Part>
      )}
    </Panel>
  );
}

const cacheColumns: readonly Column<CacheService>[] = [
  { id: 'service', header: 'Service', cell: ({ service }) => <Text>{service}</Text> },
  {
    id: 'p99',
    header: 'p99',
    align: 'end',
    cell: ({ p99Milliseconds: p99, index }) =>
      p99 === undefined ? 'none' : <EntryLink index={index}>{`${formatNumber(p99)} ms`}</EntryLink>,
  },
  {
    id: 'hits',
    header: 'Hit ratio',
    cell: ({ hitRatio, index }) =>
      hitRatio === undefined ? (
        'none'
      ) : (
        <Share of={hitRatio}>
          <EntryLink index={index}>{formatPercent(hitRatio)}</EntryLink>
        </Share>
      ),
  },
  { id: 'to', header: 'Measured', cell: ({ to }) => <Ago at={to} />, optional: true },
];

/** How often the receipts that people verify are good. */
export function Verification({ of }: { of: OverviewVerification }) {
  const { verifiers, failures, since, connection } = of;
  const { verified, all } = reportsOf(of);
  const share = shareOf(verified, all);
  return (
    <Panel
      title="Verification by SDKs"
      note={
        <>
          {count(all, 'report')} since <Time at={since} />; <Newest of={connection} what="report" />
        </>
      }
      flush
    >
      <div className="stack">
        <Figures>
          <Figure
            value={
              connection?.newest === undefined || share === undefined ? (
                'none'
              ) : (
                <EntryLink index={connection.newest}>{formatPercent(share)}</EntryLink>
              )
            }
            label="of the reported receipts are verified"
          />
        </Figures>
      </div>
      <Table
        label="Reports per verifier"
        rows={verifiers}
        rowKey={({ verifier }) => verifier}
        columns={verifierColumns(connection?.newest)}
        empty={<Empty title="No report within 30 days" />}
      />
      {failures.length > 0 && (
        <Part title="Failed last" id={FAILED}>
          <Table
            label="The newest reports that are not verified"
            rows={failures}
            rowKey={({ index }) => String(index)}
            columns={failureColumns}
          />
        </Part>
      )}
    </Panel>
  );
}

const FAILED = 'failed';

const Failures = ({ n }: { n: bigint }) =>
  n === 0n ? (
    <>0</>
  ) : (
    <Link to="/" hash={FAILED}>
      {formatNumber(n)}
    </Link>
  );

const verifierColumns = (newest: bigint | undefined): readonly Column<VerifierCounts>[] => [
  {
    id: 'verifier',
    header: 'Verifier',
    cell: ({ verifier }) => (verifier === '' ? 'without a name' : <Text>{verifier}</Text>),
  },
  { id: 'verified', header: 'Verified', align: 'end', cell: ({ verified }) => <Counted n={verified} at={newest} /> },
  { id: 'not', header: 'Not verified', align: 'end', cell: ({ notVerified }) => <Failures n={notVerified} /> },
  { id: 'errors', header: 'Errors', align: 'end', cell: ({ errors }) => <Failures n={errors} /> },
];

const failureColumns: readonly Column<VerificationFailure>[] = [
  { id: 'report', header: 'Report', cell: ({ index }) => <EntryLink index={index} /> },
  {
    id: 'reason',
    header: 'Reason',
    cell: ({ verdict, reasonCode }) => (
      <code>
        <Text>{reasonCode === '' ? verdict : reasonCode}</Text>
      </code>
    ),
  },
  {
    id: 'verifier',
    header: 'Verifier',
    cell: ({ verifier, version }) => <Text>{`${verifier} ${version}`.trim()}</Text>,
    optional: true,
  },
  {
    id: 'about',
    header: 'Receipt of',
    cell: ({ entry }) => (entry === undefined ? 'unknown' : <EntryLink index={entry} />),
  },
  { id: 'time', header: 'Recorded', cell: ({ time }) => <Ago at={time} />, optional: true },
];
