import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { FindingOrder, PortalService, type FindingRecord } from '../../gen/muniment/v1/portal_pb';
import {
  AsOf,
  ControlLink,
  count,
  EntryLinks,
  Filters,
  FindingLink,
  FindingState,
  Severity,
  Text,
} from '../../records';
import { usePaging } from '../../records/paging';
import { usePerson } from '../../session/session';
import { Answer, Chart, Empty, formatPercent, Page, Pages, Panel, Table, type Column } from '../../ui';
import { Choice } from '../../ui/Field';
import { burndownOf } from './burndown';
import { About, Controls, Due } from './parts';
import { SEVERITIES } from './search';
import styles from './findings.module.css';

const route = getRouteApi('/members/findings');

const states = {
  unresolved: ['open', 'in-progress', 'reopened'],
  overdue: [],
  resolved: ['resolved'],
};

/** The findings, those that are due first. */
export function View() {
  const { show, severity, control = '', artifact = '', page, from } = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant } = usePerson();
  const query = useQuery(
    PortalService.method.listFindings,
    {
      tenant,
      control,
      artifact,
      states: show === undefined ? [] : states[show],
      severities: severity === undefined ? [] : [severity],
      overdue: show === 'overdue',
      order: FindingOrder.URGENT,
      pageToken: page ?? '',
    },
    { placeholderData: keepPreviousData },
  );
  const only = {
    ...(severity !== undefined && { severity }),
    ...(control !== '' && { control }),
    ...(artifact !== '' && { artifact }),
  };
  const pages = usePaging({ page, from }, query.data?.nextPageToken ?? '', ({ search, state }) => {
    void navigate({ search: { ...only, ...(show && { show }), ...search }, state });
  });
  const isFiltered = show !== undefined || Object.keys(only).length > 0;
  return (
    <Page
      title="Findings"
      lead="Problems with artifacts or with how controls are met. A finding is resolved by linked evidence that a control accepts."
    >
      <Burndown />
      <div className={styles.filters}>
        <Filters
          label="Filters of findings"
          to="/findings"
          filters={[
            { label: 'All', search: only, current: show === undefined },
            {
              label: 'Not resolved',
              search: { ...only, show: 'unresolved' },
              current: show === 'unresolved',
            },
            {
              label: 'Overdue',
              search: { ...only, show: 'overdue' },
              current: show === 'overdue',
            },
            {
              label: 'Resolved',
              search: { ...only, show: 'resolved' },
              current: show === 'resolved',
            },
          ]}
        />
        <div className={styles.severity}>
          <Choice
            label="Severity"
            options={[
              { value: 'all', label: 'all severities' },
              ...SEVERITIES.map((value) => ({ value, label: value })),
            ]}
            value={severity ?? 'all'}
            onChange={(value) => {
              void navigate({
                search: {
                  ...(control !== '' && { control }),
                  ...(artifact !== '' && { artifact }),
                  ...(show && { show }),
                  ...(value !== 'all' && { severity: value }),
                },
              });
            }}
          />
        </div>
      </div>
      <Answer query={query} label="Loading findings">
        {({ findings, total, overdue, state }) => (
          <Panel
            title={count(total, 'finding')}
            note={
              <>
                {overdue > 0n && `${overdue.toLocaleString()} overdue. `}
                {control !== '' && (
                  <>
                    About control <ControlLink id={control} />.{' '}
                  </>
                )}
                {artifact !== '' && (
                  <>
                    About{' '}
                    <Link to="/artifacts/$digest" params={{ digest: artifact }}>
                      one artifact
                    </Link>
                    .{' '}
                  </>
                )}
                {(control !== '' || artifact !== '') && <Link to="/findings">Show all</Link>} <AsOf state={state} />
              </>
            }
            flush
          >
            <Table
              label="Findings"
              rows={findings}
              rowKey={({ first }) => String(first)}
              columns={columns}
              offset={pages.offset}
              total={Number(total)}
              empty={<None filtered={isFiltered} />}
            />
            <Pages label="findings" count={findings.length} total={Number(total)} {...pages} />
          </Panel>
        )}
      </Answer>
    </Page>
  );
}

const columns: readonly Column<FindingRecord>[] = [
  {
    id: 'id',
    header: 'Finding',
    cell: ({ id, first }) => <FindingLink id={id} first={first} />,
  },
  { id: 'title', header: 'Title', cell: ({ title }) => <Text>{title}</Text> },
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
  { id: 'due', header: 'Due', cell: (f) => <Due of={f} /> },
  {
    id: 'about',
    header: 'About',
    cell: (f) => <About of={f} />,
    optional: true,
  },
  {
    id: 'controls',
    header: 'Controls',
    cell: ({ controls }) => <Controls of={controls} />,
    optional: true,
  },
  {
    id: 'evidence',
    header: 'Evidence',
    cell: ({ newest }) => <EntryLinks indexes={newest?.evidence ?? []} most={3} />,
    optional: true,
  },
];

/** The findings of 90 days. */
function Burndown() {
  const { tenant } = usePerson();
  const query = useQuery(PortalService.method.getOverview, { tenant });
  return (
    <Answer query={query} label="Loading the burndown">
      {({ findings }) =>
        findings === undefined || findings.total === 0n ? null : (
          <Panel
            title="Burndown"
            note={`Over ${findings.days.length} days. ${formatPercent(Number(findings.resolved) / Number(findings.total))} are closed with linked evidence`}
          >
            <Chart label="Findings over time" data={burndownOf(findings.days)} />
          </Panel>
        )
      }
    </Answer>
  );
}

const None = ({ filtered }: { filtered: boolean }) =>
  filtered ? (
    <Empty title="No finding is like this">
      <Link to="/findings">Show all findings</Link>
    </Empty>
  ) : (
    <Empty title="No findings are recorded">
      Import those of an audit or a scanner with muniment finding import, from CSV, SARIF or JSON.
    </Empty>
  );
