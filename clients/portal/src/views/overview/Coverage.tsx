import { Link } from '@tanstack/react-router';
import type { CoverageCount } from '../../gen/muniment/v1/gate_pb';
import type { OverviewCoverage } from '../../gen/muniment/v1/portal_pb';
import { EntryLink, Text } from '../../records';
import { Ago, Code, Empty, formatNumber, Notice, Panel, Table, type Column } from '../../ui';
import { Newest, Part, Share } from './parts';
import { shareOf } from './state';

/** The share of what runs that is attested, per kind of artifact. */
export function Coverage({ of }: { of: OverviewCoverage }) {
  const { stage, counts, computed, problems, connection } = of;
  return (
    <Panel
      title="Coverage"
      note={
        <>
          by the controls of the stage {stage}
          {computed !== undefined && (
            <>
              , computed <Ago at={computed} />
            </>
          )}
          ; <Newest of={connection} what="inventory" />
        </>
      }
      flush
    >
      {problems.length > 0 && (
        <div className="stack">
          {problems.map((problem) => (
            <Notice
              key={problem}
              tone="warn"
              title={counts.length === 0 ? 'There is no coverage' : 'The coverage is not complete'}
            >
              <Text>{problem}</Text>
            </Notice>
          ))}
        </div>
      )}
      {(counts.length > 0 || problems.length === 0) && (
        <Table
          label="Coverage per kind of artifact"
          rows={counts}
          rowKey={({ environment, type }) => `${environment} ${type}`}
          columns={columnsOf(connection?.newest)}
          empty={
            <Empty title={computed === undefined ? 'The server has not computed it yet' : 'The inventories are empty'}>
              {computed === undefined && 'It does so within some minutes of the first inventory.'}
            </Empty>
          }
        />
      )}
      {counts.some(({ inventoried, attested }) => attested < inventoried) && (
        <Part title="What is missing">
          <div className="stack">
            <Code text="muniment coverage" label="command that lists what is not attested" />
          </div>
        </Part>
      )}
    </Panel>
  );
}

const columnsOf = (inventory: bigint | undefined): readonly Column<CoverageCount>[] => [
  { id: 'type', header: 'Kind', cell: ({ type }) => <Text>{type}</Text> },
  { id: 'environment', header: 'Environment', cell: ({ environment }) => <Text>{environment}</Text> },
  {
    id: 'attested',
    header: 'Attested',
    cell: ({ attested, inventoried }) => (
      <Share of={shareOf(attested, inventoried) ?? 0}>
        <Link to="/controls">{formatNumber(attested)}</Link> of{' '}
        {inventory === undefined ? (
          formatNumber(inventoried)
        ) : (
          <EntryLink index={inventory}>{formatNumber(inventoried)}</EntryLink>
        )}
      </Share>
    ),
  },
  {
    id: 'excepted',
    header: 'Excepted',
    align: 'end',
    cell: ({ excepted }) => (
      <Link to="/exceptions" search={{ show: 'in-force' }}>
        {formatNumber(excepted)}
      </Link>
    ),
    optional: true,
  },
  {
    id: 'undecided',
    header: 'Undecided',
    align: 'end',
    cell: ({ undecided }) => <Link to="/controls">{formatNumber(undecided)}</Link>,
    optional: true,
  },
];
