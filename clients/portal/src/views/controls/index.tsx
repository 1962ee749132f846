import { useQuery } from '@connectrpc/connect-query';
import { GateService, type GetControlSetResponse } from '../../gen/muniment/v1/gate_pb';
import type { Control } from '../../gen/muniment/v1/kinds_pb';
import { AsOf, ControlLink, count, EntryLink, Severity, Text } from '../../records';
import { usePerson } from '../../session/session';
import { Answer, Empty, Page, Panel, Table, type Column } from '../../ui';
import { isNone, NoSet } from './NoSet';
import { atStage, frameworksOf, targetOf } from './words';
import styles from './controls.module.css';

/** The controls in force. */
export function View() {
  const { tenant } = usePerson();
  const set = useQuery(GateService.method.getControlSet, { tenant });
  return (
    <Page
      title="Controls"
      lead="The rules that gates enforce. A gate decides by the control set in force, from the evidence in the log."
    >
      {isNone(set.error) ? (
        <NoSet />
      ) : (
        <Answer query={set} label="Loading the controls">
          {(data) => <Set data={data} />}
        </Answer>
      )}
    </Page>
  );
}

function Set({ data: { set, controls, index, state } }: { data: GetControlSetResponse }) {
  const stages = set?.stages ?? [];
  const columns: Column<Control>[] = [
    { id: 'id', header: 'Control', cell: ({ id }) => <ControlLink id={id} /> },
    { id: 'title', header: 'Title', cell: ({ title }) => <Text>{title}</Text> },
    {
      id: 'severity',
      header: 'Severity',
      cell: ({ severity }) => <Severity of={severity} />,
    },
    ...stages.slice(0, 6).map((stage): Column<Control> => ({
      id: `stage ${stage}`,
      header: `At ${stage}`,
      cell: (control) => <Text>{atStage(control, stage) || '–'}</Text>,
    })),
    {
      id: 'target',
      header: 'Applies to',
      cell: ({ appliesTo }) => <Text>{targetOf(appliesTo)}</Text>,
      optional: true,
    },
    {
      id: 'owner',
      header: 'Owner',
      cell: ({ owner }) => (owner === '' ? 'no owner' : <Text>{owner}</Text>),
      optional: true,
    },
  ];
  return (
    <>
      <Panel
        title={count(controls.length, 'control')}
        note={
          <>
            Version <Text>{set?.version ?? ''}</Text>, in force since <EntryLink index={index} />.{' '}
            <AsOf state={state} />
          </>
        }
        flush
      >
        <Table label="Controls" rows={controls} rowKey={({ id }) => id} columns={columns} />
      </Panel>
      <Frameworks controls={controls} />
    </>
  );
}

/** The requirements of frameworks, with the controls that satisfy them. */
function Frameworks({ controls }: { controls: readonly Control[] }) {
  const rows = frameworksOf(controls);
  return (
    <Panel title="Frameworks" note="Requirements that the controls satisfy" flush>
      <Table
        label="Requirements of frameworks"
        rows={rows}
        rowKey={({ framework, requirement }) => `${framework}: ${requirement}`}
        columns={[
          {
            id: 'requirement',
            header: 'Requirement',
            cell: ({ requirement }) => <Text>{requirement}</Text>,
          },
          {
            id: 'framework',
            header: 'Framework',
            cell: ({ framework }) => <Text>{framework}</Text>,
          },
          {
            id: 'controls',
            header: 'Controls',
            cell: (row) => (
              <span className={styles.inline}>
                {row.controls.map((id) => (
                  <ControlLink key={id} id={id} />
                ))}
              </span>
            ),
          },
        ]}
        empty={
          <Empty title="No control names a framework">Add frameworks to the controls, such as "SOC 2: CC8.1".</Empty>
        }
      />
    </Panel>
  );
}
