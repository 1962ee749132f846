import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { PortalService, type IncidentRecord, type ListIncidentsResponse } from '../../gen/muniment/v1/portal_pb';
import { AsOf, EntryLink, Filters, Text, Who } from '../../records';
import { List } from '../../records/List';
import { usePerson } from '../../session/session';
import { Ago, Empty, formatNumber, Notice, PAGE_SIZE, Status, Time, type Column } from '../../ui';
import { IncidentLink, IncidentState, seconds } from './parts';
import { SHOW } from './search';
import styles from './incidents.module.css';

const route = getRouteApi('/members/incidents');

interface Shown {
  label: string;
  states: string[];
  misfired?: boolean;
}

const shown: Readonly<Record<(typeof SHOW)[number], Shown>> = {
  waiting: { label: 'Waiting for a person', states: ['waiting'] },
  active: { label: 'Active', states: ['acting', 'settling', 'undoing'] },
  escalated: { label: 'Escalated', states: ['escalated'] },
  closed: { label: 'Closed', states: ['closed'] },
  misfires: { label: 'Misfires', states: [], misfired: true },
};

/** The incidents, that with the newest entry first. */
export function View() {
  const { show, type = '', page, from } = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant } = usePerson();
  const filter: Shown = show === undefined ? { label: '', states: [] } : shown[show];
  const query = useQuery(
    PortalService.method.listIncidents,
    { tenant, states: filter.states, misfired: filter.misfired ?? false, playbook: type, pageToken: page ?? '' },
    {
      placeholderData: keepPreviousData,
      // Repeated while the server reads what it has not followed yet.
      refetchInterval: ({ state }) => ((state.data?.behind ?? 0n) > 0n ? 3_000 : false),
    },
  );
  const only = type === '' ? {} : { type };
  return (
    <List
      title="Incidents"
      lead="Known kinds of incidents, against which the conductor takes the first steps. It records each step before it acts, and undoes it when the alerts are resolved."
      one="incident"
      note={
        <>
          {type !== '' && (
            <>
              Only of the type <Text>{type}</Text>. <Link to="/incidents">Show all</Link>.{' '}
            </>
          )}
          {query.data && <AsOf state={query.data.state} />}
        </>
      }
      filters={
        <Filters
          label="Filters of incidents"
          to="/incidents"
          filters={[
            { label: 'All', search: only, current: show === undefined },
            ...SHOW.map((name) => ({
              label: shown[name].label,
              search: { ...only, show: name },
              current: show === name,
            })),
          ]}
        />
      }
      query={query}
      above={(answer) => <Guards of={answer} />}
      rows={rowsOf}
      rowKey={({ id }) => id}
      columns={columns}
      paged="incidents"
      counted={({ incidents }) => incidents.length}
      total={({ total }) => Number(total)}
      size={PAGE_SIZE}
      at={{ page, from }}
      go={({ search, state }) => void navigate({ state, search: { ...only, ...(show && { show }), ...search } })}
      empty={<None filtered={show !== undefined || type !== ''} />}
    />
  );
}

const rowsOf = ({ incidents }: ListIncidentsResponse) => incidents;

/** What keeps playbooks from running, and what the list lacks. */
function Guards({ of: { quarantined, killSwitch, behind, truncated } }: { of: ListIncidentsResponse }) {
  return (
    <>
      {behind > 0n && (
        <Notice tone="info" title="The server is still reading the log">
          {formatNumber(behind)} indexes are not included yet.
        </Notice>
      )}
      {killSwitch !== undefined && (
        <Notice tone="warn" title="The kill switch is on: nothing but undo runs">
          <Who person={killSwitch.by} /> has turned it on, in <EntryLink index={killSwitch.index} />,{' '}
          <Ago at={killSwitch.time} />. A person turns it off on the page of any incident, or with{' '}
          <code>conductor triage unkill</code>.
        </Notice>
      )}
      {quarantined.map(({ playbook, incident, index, time }) => (
        <Notice
          key={playbook}
          tone="warn"
          title={
            <>
              <Text>{playbook}</Text> is quarantined: its playbook does not run
            </>
          }
        >
          It has misfired in{' '}
          <Link to="/incidents/$id" params={{ id: incident }}>
            <Text>{incident}</Text>
          </Link>
          , where a person can release it. Recorded in <EntryLink index={index} />, <Ago at={time} />.
        </Notice>
      ))}
      {truncated && (
        <Notice tone="info" title="Older incidents are not listed">
          The search finds them by their IDs.
        </Notice>
      )}
    </>
  );
}

const columns: readonly Column<IncidentRecord>[] = [
  { id: 'incident', header: 'Incident', cell: (incident) => <IncidentLink of={incident} /> },
  {
    id: 'type',
    header: 'Type',
    cell: ({ playbook }) => (
      <Link to="/incidents" search={{ type: playbook }} className={styles.type} activeProps={{}}>
        <Text>{playbook}</Text>
      </Link>
    ),
  },
  {
    id: 'state',
    header: 'State',
    cell: ({ state, misfired, withoutLedger }) => (
      <span className={styles.inline}>
        <IncidentState of={state} />
        {misfired && <Status tone="bad">Misfire</Status>}
        {withoutLedger && <Status tone="info">Without the ledger</Status>}
      </span>
    ),
  },
  { id: 'opened', header: 'Opened', cell: ({ opened }) => <Time at={opened} relative /> },
  {
    id: 'first',
    header: 'First action after',
    align: 'end',
    cell: ({ firstActionSeconds }) => (firstActionSeconds === undefined ? 'none' : seconds(firstActionSeconds)),
  },
  {
    id: 'steps',
    header: 'Steps',
    align: 'end',
    cell: ({ stepCount, succeeded }) => (
      <span className={styles.steps}>
        {succeeded} of {stepCount}
      </span>
    ),
  },
  {
    id: 'undone',
    header: 'Undone',
    cell: (incident) => <Undone of={incident} />,
    optional: true,
  },
];

/** How many of the effects have ended. */
function Undone({ of: { succeeded, undone, kept, lapsing } }: { of: IncidentRecord }) {
  const lasting = succeeded - lapsing;
  if (lasting === 0) return <>{succeeded === 0 ? 'nothing to undo' : 'lapses'}</>;
  return (
    <>
      {undone} of {lasting}
      {kept > 0 && `, ${kept} kept`}
    </>
  );
}

const None = ({ filtered }: { filtered: boolean }) =>
  filtered ? (
    <Empty title="No incident is like this">
      <Link to="/incidents">Show all incidents</Link>
    </Empty>
  ) : (
    <Empty title="No incident has been recorded">
      Start the triage with <code>conductor triage serve</code>, described in Muniment’s documentation: docs/triage.md.
    </Empty>
  );
