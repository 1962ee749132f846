import type { PreviewedDecision, PreviewExceptionResponse } from '../../gen/muniment/v1/portal_pb';
import { ArtifactLink, ControlLink, count, DecisionState, EntryLink, Text } from '../../records';
import { Empty, Notice, Table, Time, type Column } from '../../ui';
import styles from './exceptions.module.css';

/** Counts what starts and stops passing in a preview. */
export function effectOf({ changes }: PreviewExceptionResponse): {
  starts: number;
  stops: number;
} {
  return {
    starts: changes.filter(({ before, after }) => before !== 'pass' && after === 'pass').length,
    stops: changes.filter(({ before, after }) => before === 'pass' && after !== 'pass').length,
  };
}

/** The effect of an exception in one sentence. */
export function effectText(preview: PreviewExceptionResponse): string {
  const { starts, stops } = effectOf(preview);
  const [n, verb] = preview.approval ? [starts, 'passing'] : [stops, 'passing'];
  const what = preview.approval ? (n === 1 ? 'starts' : 'start') : n === 1 ? 'stops' : 'stop';
  const atLeast = preview.truncated || preview.changed > BigInt(preview.changes.length) ? 'At least ' : '';
  return n === 0
    ? `No recorded decision ${preview.approval ? 'starts' : 'stops'} ${verb}.`
    : `${atLeast}${count(n, 'decision')} ${what} ${verb}.`;
}

/** What changes if an exception is approved, or ended. */
export function Preview({ preview }: { preview: PreviewExceptionResponse }) {
  const { changes, changed, unchanged, truncated, problem, expires, approval } = preview;
  return (
    <>
      {problem !== '' && (
        <div className={styles.note}>
          <Notice tone="warn" title="It would have no effect">
            <Text>{problem}</Text>
          </Notice>
        </div>
      )}
      <p className={styles.note}>
        {effectText(preview)} {count(unchanged, 'other decision')} in scope {unchanged === 1n ? 'stays' : 'stay'} the
        same.
        {approval && expires !== undefined && (
          <>
            {' '}
            It would end at <Time at={expires} relative />.
          </>
        )}
        {changed > BigInt(changes.length) &&
          ` ${count(changed, 'decision')} change, of which the table has the first ${changes.length}.`}
        {truncated && ' There are more recorded decisions than a preview makes again.'}
      </p>
      <Table
        label="Decisions that change"
        rows={changes}
        rowKey={({ recorded }) => String(recorded)}
        columns={columns}
        empty={
          <Empty title="No decision changes">
            {approval
              ? 'No gate has asked about an artifact that the exception covers and that only this control stops. It still counts for artifacts that are asked about later.'
              : 'No gate has asked about an artifact that rests on this exception.'}
          </Empty>
        }
      />
    </>
  );
}

const columns: readonly Column<PreviewedDecision>[] = [
  {
    id: 'artifact',
    header: 'Artifact',
    cell: ({ subjects: [artifact] }) => (artifact === undefined ? 'none' : <ArtifactLink artifact={artifact} />),
  },
  {
    id: 'where',
    header: 'Stage, environment',
    cell: ({ stage, environment }) => <Text>{environment === '' ? stage : `${stage}, ${environment}`}</Text>,
  },
  {
    id: 'change',
    header: 'Decision',
    cell: ({ before, after }) => (
      <span className={styles.arrow}>
        <DecisionState of={before} /> <span aria-hidden="true">→</span>
        <span className="visually-hidden">becomes</span> <DecisionState of={after} />
      </span>
    ),
  },
  {
    id: 'still',
    header: 'Still not satisfied',
    cell: ({ results }) => (
      <span className={styles.list}>
        {results.length === 0
          ? 'nothing'
          : results.slice(0, 4).map(({ control }) => <ControlLink key={control} id={control} />)}
        {results.length > 4 && `and ${results.length - 4} more`}
      </span>
    ),
    optional: true,
  },
  {
    id: 'entry',
    header: 'Last asked',
    cell: ({ recorded }) => <EntryLink index={recorded} />,
    optional: true,
  },
];
