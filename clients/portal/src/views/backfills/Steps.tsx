import { EntryLink, Text } from '../../records';
import { Panel, Status, Table, Time, type Column } from '../../ui';
import { Words } from '../overview/parts';
import { StepState } from './parts';
import { stagesOf, type Stage, type Step } from './steps';

/** The timeline: each step with the entry before it and the one after it. */
export function Steps({ steps }: { steps: readonly Step[] }) {
  return (
    <Panel title="Steps" note="Each is recorded before and after it is taken, the newest first" flush>
      <Table
        label="Steps"
        rows={stagesOf(steps).reverse()}
        rowKey={({ intent, outcome }) => String((intent ?? outcome)?.index)}
        columns={columns}
      />
    </Panel>
  );
}

const columns: readonly Column<Stage>[] = [
  {
    id: 'step',
    header: 'Step',
    cell: ({ intent, outcome }) => <Words>{titleOf(outcome ?? intent)}</Words>,
  },
  {
    id: 'result',
    header: 'Result',
    cell: ({ outcome }) => (outcome === undefined ? <Status tone="pending">Begun</Status> : <StepState of={outcome} />),
  },
  {
    id: 'by',
    header: 'By',
    cell: ({ intent, outcome }) => <Text>{(intent ?? outcome)?.actor ?? ''}</Text>,
    optional: true,
  },
  { id: 'begun', header: 'Announced', cell: ({ intent }) => <At step={intent} /> },
  { id: 'ended', header: 'Ended', cell: ({ outcome }) => <At step={outcome} />, optional: true },
];

const titleOf = (step: Step | undefined): string =>
  step === undefined ? '' : step.checkpoint === '' ? step.step : `${step.step} ${step.checkpoint}`;

/** When an entry of a step was recorded. */
const At = ({ step }: { step: Step | undefined }) =>
  step === undefined ? (
    'not recorded'
  ) : (
    <EntryLink index={step.index}>
      <Time at={step.time} />
    </EntryLink>
  );
