import { Link } from '@tanstack/react-router';
import type { ExceptionRecord, FindingRecord, GetArtifactResponse } from '../../gen/muniment/v1/portal_pb';
import {
  ControlLink,
  count,
  ExceptionLink,
  ExceptionState,
  FindingLink,
  FindingState,
  Severity,
  Text,
} from '../../records';
import { Panel, Table, Time, type Column } from '../../ui';

const findingColumns: readonly Column<FindingRecord>[] = [
  {
    id: 'id',
    header: 'Finding',
    cell: ({ id, first }) => <FindingLink id={id} first={first} />,
  },
  {
    id: 'severity',
    header: 'Severity',
    cell: ({ severity }) => <Severity of={severity} />,
  },
  {
    id: 'state',
    header: 'State',
    cell: ({ state }) => <FindingState of={state} />,
  },
  {
    id: 'due',
    header: 'Due',
    cell: ({ due }) => (due === undefined ? 'no deadline' : <Time at={due} relative />),
  },
  {
    id: 'title',
    header: 'Title',
    cell: ({ title }) => <Text>{title}</Text>,
    optional: true,
  },
];

/** The findings about the artifact that are not resolved. */
export function OpenFindings({
  artifact: { findings, findingsTotal },
  digest,
}: {
  artifact: GetArtifactResponse;
  digest: string;
}) {
  if (findingsTotal === 0n) return null;
  return (
    <Panel
      title={findings.length === 0 ? 'All findings are resolved' : count(findings.length, 'unresolved finding')}
      note={
        <Link to="/findings" search={{ artifact: digest }}>
          {count(findingsTotal, 'finding')} in all
        </Link>
      }
      flush
    >
      {findings.length > 0 && (
        <Table
          label="Unresolved findings"
          rows={findings}
          rowKey={({ first }) => String(first)}
          columns={findingColumns}
        />
      )}
    </Panel>
  );
}

const exceptionColumns: readonly Column<ExceptionRecord>[] = [
  {
    id: 'id',
    header: 'Exception',
    cell: ({ id, index }) => <ExceptionLink id={id} index={index} />,
  },
  {
    id: 'state',
    header: 'State',
    cell: ({ state }) => <ExceptionState of={state} />,
  },
  {
    id: 'control',
    header: 'From control',
    cell: ({ control }) => <ControlLink id={control} />,
  },
  {
    id: 'ends',
    header: 'Ends',
    cell: ({ expires }) => (expires === undefined ? 'none' : <Time at={expires} relative />),
  },
];

/** The exceptions that cover the artifact. */
export function Covering({ artifact: { exceptions } }: { artifact: GetArtifactResponse }) {
  if (exceptions.length === 0) return null;
  return (
    <Panel title="Exceptions that cover it" flush>
      <Table label="Exceptions" rows={exceptions} rowKey={({ index }) => String(index)} columns={exceptionColumns} />
    </Panel>
  );
}
