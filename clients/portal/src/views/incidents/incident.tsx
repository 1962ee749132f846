import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { LedgerService, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { PortalService, type IncidentNote, type IncidentRecord } from '../../gen/muniment/v1/portal_pb';
import { AsOf, EntryLink, Text, visible, Who } from '../../records';
import { usePerson } from '../../session/session';
import {
  Answer,
  classes,
  Columns,
  Empty,
  Fact,
  Facts,
  Notice,
  Page,
  Panel,
  Status,
  Table,
  Time,
  type Column,
} from '../../ui';
import { ReceiptsOf, useReceipts } from '../backfills/Receipts';
import { Flow } from './Flow';
import { IncidentState, seconds } from './parts';
import { Requests } from './Requests';
import styles from './incidents.module.css';

const route = getRouteApi('/members/incidents/$id');

/** More entries than an incident has whose steps are undone at the first attempt. */
const most = 200;

/** One incident: its signals, its steps, and what persons can request. */
export function View() {
  const { id } = route.useParams();
  const { tenant } = usePerson();
  const query = useQuery(PortalService.method.getIncident, { tenant, id }, { placeholderData: keepPreviousData });
  const entries = useQuery(
    LedgerService.method.listEntries,
    { tenant, filter: { kind: 'triage-action', attribute: `incident=${id}` }, pageSize: most },
    { placeholderData: keepPreviousData },
  );
  const incident = query.data?.incident;
  return (
    <Page
      title={`Incident ${visible(id)}`}
      lead={
        incident && (
          <span className={styles.inline}>
            <IncidentState of={incident.state} />
            {incident.misfired && <Status tone="bad">Misfire</Status>}
            {incident.withoutLedger && <Status tone="info">Acted without the ledger</Status>}
            <span>
              <AsOf state={query.data?.state} />
            </span>
          </span>
        )
      }
    >
      <Answer query={query} label="Loading the incident" lines={10}>
        {({ incident: found }) =>
          found === undefined ? (
            <Empty title="The server has answered without an incident" />
          ) : (
            <Whole key={id} incident={found} entries={entries.data?.entries ?? []} />
          )
        }
      </Answer>
    </Page>
  );
}

function Whole({ incident, entries }: { incident: IncidentRecord; entries: readonly Entry[] }) {
  const run = useReceipts(entries);
  return (
    <>
      {incident.truncated && (
        <Notice tone="info" title="Not all entries are shown">
          The incident has more steps or notices than this page.
        </Notice>
      )}
      {incident.quarantined && (
        <Notice
          tone="warn"
          title={
            <>
              <Text>{incident.playbook}</Text> is quarantined
            </>
          }
        >
          Incidents of this type are still classified, but no step runs until a person releases it.
        </Notice>
      )}
      <Columns>
        <Summary of={incident} />
        <div className={styles.side}>
          <Persons incident={incident} />
          {entries.length > 0 && <ReceiptsOf entries={entries} run={run} />}
        </div>
      </Columns>
      <Flow incident={incident} results={run.results} />
      <Notes notes={incident.notes} />
    </>
  );
}

/** What holds now. */
function Summary({ of: incident }: { of: IncidentRecord }) {
  const { playbook, key, number, opened, detected, acted, firstActionSeconds, stepCount, succeeded } = incident;
  return (
    <Panel title="Incident">
      <Facts>
        <Fact name="Type">
          <Link to="/incidents" search={{ type: playbook }} activeProps={{}}>
            <Text>{playbook}</Text>
          </Link>
        </Fact>
        {key !== '' && (
          <Fact name="Key">
            <code>{key}</code>, incident {String(number)} with it
          </Fact>
        )}
        {detected && (
          <Fact name="Detected">
            <Time at={detected} relative />
          </Fact>
        )}
        <Fact name="Opened">
          <Time at={opened} relative />
        </Fact>
        <Fact name="First action">
          {firstActionSeconds === undefined ? (
            'none'
          ) : (
            <>
              {seconds(firstActionSeconds)} after the {detected ? 'detection' : 'opening'}, <Time at={acted} />
            </>
          )}
        </Fact>
        <Fact name="Steps">
          {succeeded} of {stepCount} succeeded
        </Fact>
        <Fact name="Effects">
          <Effects of={incident} />
        </Fact>
      </Facts>
    </Panel>
  );
}

function Effects({ of: { succeeded, undone, kept, lapsing } }: { of: IncidentRecord }) {
  const lasting = succeeded - undone - kept - lapsing;
  const parts = [
    [undone, 'undone'],
    [kept, 'kept, because somebody else has changed the target'],
    [lapsing, 'lapsing by themselves'],
    [lasting, 'still in effect'],
  ] as const;
  const text = parts.flatMap(([n, what]) => (n > 0 ? [`${n} ${what}`] : [])).join(', ');
  return <>{text === '' ? 'none' : text}</>;
}

/** What waits for a person, and what a person can request. */
function Persons({ incident }: { incident: IncidentRecord }) {
  const { waiting } = incident;
  return (
    <Panel title={waiting ? 'A step waits for a person' : 'Requests of persons'}>
      {waiting && (
        <Facts>
          <Fact name="Step">
            {waiting.place > 0 && `${waiting.place}. `}
            <Text>{waiting.stepAction === '' ? 'see the entry' : waiting.stepAction}</Text>,{' '}
            <EntryLink index={waiting.index} />
          </Fact>
          {waiting.target !== '' && (
            <Fact name="Target">
              <code>
                <Text>{waiting.target}</Text>
              </code>
            </Fact>
          )}
          <Fact name="Asked">
            <Time at={waiting.time} relative />
          </Fact>
          {waiting.until && (
            <Fact name="Escalates">
              <Time at={waiting.until} relative />
            </Fact>
          )}
        </Facts>
      )}
      <Requests incident={incident} />
    </Panel>
  );
}

const words: Readonly<Record<string, string>> = {
  'request-approval': 'Approval requested',
  escalate: 'Escalated',
  quarantine: 'Type quarantined',
  close: 'Closed',
  takeover: 'Taken over by another executor',
  replaced: 'Executor found itself replaced',
  approve: 'Approved',
  reject: 'Rejected',
  undo: 'Undo requested',
  misfire: 'Marked as a misfire',
  release: 'Quarantine ended',
};

const columns: readonly Column<IncidentNote>[] = [
  { id: 'time', header: 'Time', cell: ({ time }) => <Time at={time} /> },
  {
    id: 'what',
    header: 'What',
    cell: ({ action, void: isVoid, place, stepAction }) => (
      <span className={classes(styles.inline, styles.what)}>
        <Text>{(Object.hasOwn(words, action) && words[action]) || action}</Text>
        {stepAction !== '' && (
          <span>
            {place > 0 && `${place}. `}
            <Text>{stepAction}</Text>
          </span>
        )}
        {isVoid && <Status tone="warn">No person has submitted it</Status>}
      </span>
    ),
  },
  {
    id: 'by',
    header: 'By',
    cell: ({ by, actor }) => (
      <span className={styles.by}>{by?.isPerson ? <Who person={by} /> : <Text>{actor}</Text>}</span>
    ),
    optional: true,
  },
  {
    id: 'detail',
    header: 'Reason',
    cell: ({ detail }) => <span className={styles.reason}>{detail === '' ? 'none' : <Text>{detail}</Text>}</span>,
  },
  { id: 'entry', header: 'Entry and receipt', cell: ({ index }) => <EntryLink index={index} /> },
];

function Notes({ notes }: { notes: readonly IncidentNote[] }) {
  return (
    <Panel title="Notices and requests" note="Of the executor and of persons, the oldest first" flush>
      <Table
        label="Notices and requests"
        rows={notes}
        rowKey={({ index }) => String(index)}
        columns={columns}
        empty={<Empty title="None has been recorded" />}
      />
    </Panel>
  );
}
