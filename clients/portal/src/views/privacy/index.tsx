import { useQuery } from '@connectrpc/connect-query';
import { Link } from '@tanstack/react-router';
import { PortalService, type BudgetRecord, type BudgetSpend } from '../../gen/muniment/v1/portal_pb';
import { AsOf } from '../../records';
import { usePerson } from '../../session/session';
import {
  Answer,
  Chart,
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
  type Column,
} from '../../ui';
import { chartOf } from './chart';

/** The budgets, with what exports have spent of them. */
export function View() {
  const { tenant } = usePerson();
  const query = useQuery(PortalService.method.getPrivacyBudget, { tenant });
  return (
    <Page
      title="Privacy budget"
      lead="What exports have spent of each budget: as their manifests claim it, and as the entries of the log add up."
    >
      <Answer query={query} label="Loading the budgets">
        {({ state, budgets, total, behind, connection }) => (
          <>
            <p>
              <AsOf state={state} />
            </p>
            {behind > 0n && (
              <Notice tone="info" title="The server is still reading the log">
                {formatNumber(behind)} indexes are not included yet.
              </Notice>
            )}
            {budgets.length === 0 ? (
              <Empty title="No export has spent a privacy budget">
                Exports with a budget come from <code>{connection?.commands[0] ?? 'muniment export-manifest'}</code>,
                described in Muniment’s documentation:{' '}
                {connection?.page === undefined || connection.page === ''
                  ? 'docs/export-manifests.md'
                  : connection.page}
                .
              </Empty>
            ) : (
              budgets.map((budget) => <Budget key={`${budget.name} ${budget.flavor}`} budget={budget} />)
            )}
            {total > BigInt(budgets.length) && (
              <p>
                {budgets.length} of {formatNumber(total)} budgets are shown, those with the newest spends.
              </p>
            )}
          </>
        )}
      </Answer>
    </Page>
  );
}

function Budget({ budget }: { budget: BudgetRecord }) {
  const { name, flavor, privacyUnit, limit, limitDelta, measure, claimed, checked, agrees, problem } = budget;
  const data = chartOf(budget);
  return (
    <Panel title={name} note={`${flavor}, ${privacyUnit}`} flush>
      <div className="stack">
        {agrees ? (
          <Status tone="good">The claim covers what the log adds up to</Status>
        ) : (
          <Notice
            tone="bad"
            title={problem === '' ? 'The manifest claims less than the log adds up to' : 'The sum could not be checked'}
          >
            {problem === '' ? `The manifest claims ${claimed}, and the entries add up to ${checked}.` : problem}
          </Notice>
        )}
        <Facts>
          <Fact name="Limit">
            {limit} {measure}
            {limitDelta !== '' && `, δ ${limitDelta}`}
          </Fact>
          <Fact name="Claimed">{claimed === '' ? 'nothing' : `${claimed} ${measure}`}, by the newest manifest</Fact>
          <Fact name="Added up">
            {checked === '' ? 'not possible' : `${checked} ${measure}`}, by the entries of the log
          </Fact>
        </Facts>
        {data.times.length > 1 && <Chart label={`Spent of ${name} over time`} data={data} />}
      </div>
      <Table
        label={`Spends of ${name}`}
        columns={columns}
        rows={[...budget.spends].reverse()}
        rowKey={({ index }) => String(index)}
      />
      {budget.spendCount > BigInt(budget.spends.length) && (
        <p className="stack">
          The newest {budget.spends.length} of {formatNumber(budget.spendCount)} spends are shown.
        </p>
      )}
    </Panel>
  );
}

const columns: Column<BudgetSpend>[] = [
  {
    id: 'entry',
    header: 'Entry',
    cell: ({ index }) => (
      <Link to="/entries/$index" params={{ index: String(index) }}>
        {String(index)}
      </Link>
    ),
  },
  { id: 'export', header: 'Export', cell: ({ name }) => name },
  { id: 'time', header: 'Recorded', cell: ({ time }) => <Time at={time} />, optional: true },
  { id: 'amount', header: 'Spends', align: 'end', cell: ({ amount }) => amount },
  {
    id: 'claimed',
    header: 'Claimed in all',
    align: 'end',
    cell: ({ claimed }) => claimed || 'nothing',
    optional: true,
  },
  {
    id: 'checked',
    header: 'Added up',
    align: 'end',
    cell: ({ claimed, checked }) => (
      <>
        {checked || 'not possible'}{' '}
        {claimed !== '' && Number(claimed) < Number(checked) && <Status tone="bad">claims less</Status>}
      </>
    ),
  },
];
