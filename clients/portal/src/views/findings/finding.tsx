import { useQuery } from '@connectrpc/connect-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { PortalService, type FindingRecord, type FindingReport } from '../../gen/muniment/v1/portal_pb';
import {
  AsOf,
  count,
  digestOf,
  EntryLink,
  EntryLinks,
  FindingLink,
  FindingState,
  listed,
  Prose,
  Severity,
  Text,
  visible,
  Who,
} from '../../records';
import { shellQuote } from '../../records/shell';
import { usePerson } from '../../session/session';
import {
  Answer,
  buttonClass,
  Code,
  Columns,
  Empty,
  Fact,
  Facts,
  Notice,
  Page,
  Panel,
  Table,
  Time,
  type Column,
} from '../../ui';
import { About, Controls, Due } from './parts';
import styles from './findings.module.css';

const route = getRouteApi('/members/findings/$id');

/** The findings with an ID, or one of them. */
export function View() {
  const { id } = route.useParams();
  const { first } = route.useSearch();
  const { tenant } = usePerson();
  const one = first !== undefined && /^\d{1,19}$/u.test(first) ? { first: BigInt(first) } : {};
  const query = useQuery(PortalService.method.getFinding, {
    tenant,
    id,
    ...one,
  });
  const [finding, ...others] = query.data?.findings ?? [];
  return (
    <Page
      title={`Finding ${visible(id)}`}
      lead={
        finding && (
          <span className={styles.inline}>
            <FindingState of={finding.state} /> <Severity of={finding.severity} /> <Text>{finding.title}</Text>
          </span>
        )
      }
    >
      <Answer query={query} label="Loading the finding">
        {({ total, state }) =>
          finding === undefined ? (
            <Empty title="No finding has this ID">
              <Link to="/findings">Show all findings</Link>
            </Empty>
          ) : (
            <>
              {others.length > 0 && <Others all={[finding, ...others]} total={total} />}
              <Columns>
                <Details finding={finding} state={<AsOf state={state} />} />
                <Resolution finding={finding} />
              </Columns>
              <History finding={finding} />
            </>
          )
        }
      </Answer>
    </Page>
  );
}

/** Findings with the same ID, about other artifacts. */
function Others({ all, total }: { all: readonly FindingRecord[]; total: bigint }) {
  return (
    <Panel
      title={`${count(total, 'finding')} with this ID`}
      note="Each is about other artifacts. The first is shown below; open another one by its entry"
      flush
    >
      <Table
        label="Findings with this ID"
        rows={all}
        rowKey={({ first }) => String(first)}
        columns={[
          {
            id: 'first',
            header: 'Finding',
            cell: ({ id, first }) => (
              <>
                <FindingLink id={id} first={first} /> since <EntryLink index={first} />
              </>
            ),
          },
          { id: 'about', header: 'About', cell: (f) => <About of={f} /> },
          {
            id: 'state',
            header: 'State',
            cell: ({ state }) => <FindingState of={state} />,
          },
          { id: 'due', header: 'Due', cell: (f) => <Due of={f} /> },
        ]}
      />
    </Panel>
  );
}

function Details({ finding, state }: { finding: FindingRecord; state: React.ReactNode }) {
  const { aliases, description, location, score, detected, source } = finding;
  return (
    <Panel title="The finding" note={state}>
      <Facts>
        <Fact name="About">
          <About of={finding} most={16} />
        </Fact>
        <Fact name="Controls">{finding.controls.length === 0 ? 'none' : <Controls of={finding.controls} />}</Fact>
        <Fact name="Due">
          <Due of={finding} />
        </Fact>
        <Fact name="Detected">
          <Time at={detected} relative />
        </Fact>
        <Fact name="Reported by">
          <Text>{source}</Text>
        </Fact>
        {aliases.length > 0 && (
          <Fact name="Also known as">
            <Text>{aliases.join(', ')}</Text>
          </Fact>
        )}
        {score !== undefined && <Fact name="CVSS base score">{score.toLocaleString()}</Fact>}
        {location !== '' && (
          <Fact name="Location">
            <code>
              <Text>{location}</Text>
            </code>
          </Fact>
        )}
        {description !== '' && (
          <Fact name="Description">
            <Prose>{description}</Prose>
          </Fact>
        )}
      </Facts>
    </Panel>
  );
}

/** How the finding was resolved, or how it can be. */
function Resolution({ finding }: { finding: FindingRecord }) {
  const { state, newest, id, controls, subjects } = finding;
  if (state === 'resolved')
    return (
      <Panel title="Resolved">
        <Notice tone="good" title="The log has accepted the evidence">
          {newest !== undefined && newest.acceptedBy.length > 0
            ? `It satisfies ${visible(listed(newest.acceptedBy))}.`
            : 'It is about the artifacts of the finding.'}
        </Notice>
        <Facts>
          <Fact name="Evidence">
            <EntryLinks indexes={newest?.evidence ?? []} most={32} />
          </Fact>
          <Fact name="Resolved by">
            <Who person={newest?.by} />, <Time at={newest?.time} relative />
          </Fact>
        </Facts>
      </Panel>
    );
  const isRefused = newest?.status === 'resolved';
  const [artifact] = subjects;
  return (
    <Panel title="How to resolve it">
      {isRefused && (
        <Notice tone="warn" title="A resolution was reported, and does not count">
          No control has accepted its evidence.
        </Notice>
      )}
      <p>
        {controls.length > 0
          ? 'Link entries that one of its controls accepts: each is evidence that the control requires, and the control is satisfied for the artifact.'
          : 'Link entries with evidence about its artifacts that counts.'}{' '}
        The log refuses others.
      </p>
      <Code
        label="command that resolves the finding"
        text={`muniment finding set ${shellQuote(id)} resolved --evidence ENTRY`}
      />
      {controls.length > 0 && (
        <p>
          <Link
            to="/exceptions/new"
            className={buttonClass()}
            search={{
              control: controls[0],
              finding: id,
              ...(artifact && { artifact: digestOf(artifact.digest) }),
            }}
          >
            Request an exception
          </Link>
        </p>
      )}
    </Panel>
  );
}

const columns: readonly Column<FindingReport>[] = [
  { id: 'time', header: 'Time', cell: ({ time }) => <Time at={time} /> },
  {
    id: 'status',
    header: 'Reported state',
    cell: ({ status, accepted }) => (
      <>
        <FindingState of={status} />
        {status === 'resolved' && !accepted && ' not accepted'}
      </>
    ),
  },
  {
    id: 'severity',
    header: 'Severity',
    cell: ({ severity }) => <Severity of={severity} />,
  },
  { id: 'by', header: 'By', cell: ({ by }) => <Who person={by} /> },
  {
    id: 'evidence',
    header: 'Linked entries',
    cell: ({ evidence }) => (evidence.length === 0 ? 'none' : <EntryLinks indexes={evidence} />),
  },
  {
    id: 'entry',
    header: 'Entry and receipt',
    cell: ({ index }) => <EntryLink index={index} />,
  },
];

function History({ finding: { reports, reportCount } }: { finding: FindingRecord }) {
  return (
    <Panel
      title="History"
      note={`${count(reportCount, 'report')}, the oldest first${reportCount > reports.length ? `; the newest ${reports.length} are shown` : ''}`}
      flush
    >
      <Table label="Reports about the finding" rows={reports} rowKey={({ index }) => String(index)} columns={columns} />
    </Panel>
  );
}
