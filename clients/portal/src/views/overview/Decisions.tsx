import { Link } from '@tanstack/react-router';
import type { OverviewDecisions, RecentDecision, StageDecisions } from '../../gen/muniment/v1/portal_pb';
import { ArtifactLink, ControlLink, count, DecisionState, digestOf, EntryLink, Text } from '../../records';
import { shortDigest } from '../../ui/Digest';
import { Ago, Empty, formatNumber, Panel, Table, Time, type Column } from '../../ui';
import { Newest, Part, Words } from './parts';
import { totalsOf } from './state';
import styles from './overview.module.css';

/** Where the stopped artifacts are, on this page. */
export const STOPPED = 'stopped';

/** The decisions of gates since midnight, and what did not pass. */
export function Decisions({ of }: { of: OverviewDecisions }) {
  const { all } = totalsOf(of);
  return (
    <Panel
      title="Decisions today"
      note={
        <>
          {count(all, 'decision')} since <Time at={of.since} />; <Newest of={of.connection} what="decision" />
        </>
      }
      flush
    >
      <Table
        label="Decisions today, per stage"
        rows={of.stages}
        rowKey={({ stage }) => stage}
        columns={stageColumns}
        empty={<Empty title="No gate has decided today" />}
      />
      <Part title="Stopped last" id={STOPPED}>
        <Table
          label="The newest decisions that did not pass"
          rows={of.stopped}
          rowKey={({ index }) => String(index)}
          columns={stoppedColumns}
          empty={<Empty title="Nothing was stopped">Artifacts that a gate blocks are shown here.</Empty>}
        />
      </Part>
    </Panel>
  );
}

/** A number of decisions that did not pass, which leads to them. */
const Stopped = ({ n }: { n: bigint }) =>
  n === 0n ? (
    <>0</>
  ) : (
    <Link to="/" hash={STOPPED}>
      {formatNumber(n)}
    </Link>
  );

const stageColumns: readonly Column<StageDecisions>[] = [
  { id: 'stage', header: 'Stage', cell: ({ stage }) => <Text>{stage === '' ? 'none' : stage}</Text> },
  {
    id: 'passed',
    header: 'Passed',
    align: 'end',
    cell: ({ passed }) => (
      <Link to="/controls" title="The controls that decide">
        {formatNumber(passed)}
      </Link>
    ),
  },
  { id: 'blocked', header: 'Blocked', align: 'end', cell: ({ blocked }) => <Stopped n={blocked} /> },
  { id: 'undecided', header: 'Undecided', align: 'end', cell: ({ undecided }) => <Stopped n={undecided} /> },
];

/** The artifact of a decision, with why it passes or not now. */
function Why({ of: { artifact, stage, environment } }: { of: RecentDecision }) {
  const digest = digestOf(artifact?.digest ?? {});
  if (artifact === undefined) return <>no artifact</>;
  if (digest === '') return <ArtifactLink artifact={artifact} />;
  return (
    <Link
      to="/artifacts/$digest"
      params={{ digest }}
      search={{ ...(stage !== '' && { stage }), ...(environment !== '' && { environment }) }}
      title={digest}
    >
      {artifact.name === '' ? <code>{shortDigest(digest)}</code> : <Text>{artifact.name}</Text>}
    </Link>
  );
}

const stoppedColumns: readonly Column<RecentDecision>[] = [
  {
    id: 'artifact',
    header: 'Artifact',
    cell: (decision) => (
      <span className={styles.wide}>
        <Why of={decision} />
      </span>
    ),
  },
  {
    id: 'decision',
    header: 'Decision',
    cell: ({ decision, reason }) => (
      <>
        <DecisionState of={decision} />
        {reason !== '' && (
          <>
            {' '}
            <Text>{reason}</Text>
          </>
        )}
      </>
    ),
  },
  {
    id: 'where',
    header: 'Stage',
    cell: ({ stage, environment }) => <Words>{environment === '' ? stage : `${stage}, ${environment}`}</Words>,
  },
  {
    id: 'controls',
    header: 'Controls',
    cell: ({ controls }) => (
      <span className={styles.list}>
        {controls.slice(0, 3).map((id) => (
          <ControlLink key={id} id={id} />
        ))}
        {controls.length > 3 && <span className={styles.label}>and {controls.length - 3} more</span>}
      </span>
    ),
    optional: true,
  },
  {
    id: 'time',
    header: 'Decided',
    cell: ({ index, time }) => (
      <EntryLink index={index}>
        <Ago at={time} />
      </EntryLink>
    ),
  },
];
