import { EntryLink, Text } from '../../records';
import { usePerson } from '../../session/session';
import { formatDuration, formatNumber, Notice, Panel, Status, Table, type Column } from '../../ui';
import { Words } from '../overview/parts';
import { rehearsalOf, type Rehearsal as Rehearsed } from './payloads';
import { Proof } from './Proof';
import { outcomeOf, type Job } from './steps';
import { usePayload } from './verified';

/** The newest rehearsal: cutover, rollback and cutover on a clone under load. */
export function Rehearsal({ job }: { job: Job }) {
  const { tenant } = usePerson();
  const outcome = outcomeOf(job.steps, 'rehearsal');
  const proven = usePayload(tenant, outcome?.index);
  if (outcome === undefined) return null;
  const rehearsal = proven.payload && rehearsalOf(proven.payload);
  return (
    <Panel
      title="Rehearsal"
      note={
        <>
          On a clone, while load is replayed. <EntryLink index={outcome.index} />
        </>
      }
      flush
    >
      <Proof of={proven} label="the rehearsal">
        {rehearsal?.failures.map((failure) => (
          <div className="stack" key={failure}>
            <Notice tone="bad" title={<Text>{failure}</Text>} />
          </div>
        ))}
        <Table
          label="Steps of the rehearsal"
          rows={rehearsal?.steps ?? []}
          rowKey={({ name }) => name}
          columns={columns}
          empty="The entry does not contain the steps."
        />
      </Proof>
    </Panel>
  );
}

const columns: readonly Column<Rehearsed['steps'][number]>[] = [
  { id: 'step', header: 'Step', cell: ({ name }) => <Words>{name}</Words> },
  {
    id: 'result',
    header: 'Result',
    cell: ({ error }) =>
      error === '' ? (
        <Status tone="good">Succeeded</Status>
      ) : (
        <Status tone="bad">
          <Text>{error}</Text>
        </Status>
      ),
  },
  { id: 'attempts', header: 'Attempts', align: 'end', cell: ({ change }) => formatNumber(change.attempts) },
  // The conductor states durations in nanoseconds.
  { id: 'held', header: 'Table locked for', align: 'end', cell: ({ change }) => formatDuration(change.held / 1e9) },
  {
    id: 'load',
    header: 'Transactions',
    align: 'end',
    cell: ({ load }) => formatNumber(load.transactions),
    optional: true,
  },
  {
    id: 'failed',
    header: 'Of these failed',
    align: 'end',
    cell: ({ load }) => formatNumber(load.failed),
    optional: true,
  },
];
