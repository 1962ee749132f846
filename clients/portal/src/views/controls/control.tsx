import { useQuery } from '@connectrpc/connect-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { GateService, type GetControlSetResponse } from '../../gen/muniment/v1/gate_pb';
import type { Control, ControlSet } from '../../gen/muniment/v1/kinds_pb';
import { LedgerService, Order, type Entry } from '../../gen/muniment/v1/ledger_pb';
import { FindingOrder, PortalService } from '../../gen/muniment/v1/portal_pb';
import { ArtifactLink, ControlLink, count, EntryLink, listed, Prose, Severity, Text, visible } from '../../records';
import { usePerson } from '../../session/session';
import { Answer, Code, Columns, Empty, Fact, Facts, Page, PAGE_SIZE, Panel, Table, Time, type Column } from '../../ui';
import { isNone, NoSet } from './NoSet';
import { Replay } from './Replay';
import { atStage, needsOf, signerOf, slaOf, targetOf } from './words';
import styles from './controls.module.css';

const route = getRouteApi('/members/controls/$id');

/** One control: what it is for, what it checks, what it has, and what it would have blocked. */
export function View() {
  const { id } = route.useParams();
  const { tenant } = usePerson();
  const query = useQuery(GateService.method.getControlSet, { tenant });
  const control = query.data?.controls.find((c) => c.id === id);
  return (
    <Page
      title={`Control ${visible(id)}`}
      lead={
        control && (
          <span className={styles.inline}>
            <Severity of={control.severity} /> <Text>{control.title}</Text>
          </span>
        )
      }
    >
      {isNone(query.error) ? (
        <NoSet />
      ) : (
        <Answer query={query} label="Loading the control">
          {(data) =>
            control === undefined || data.set === undefined ? (
              <Empty title="The control set in force has no such control">
                <Link to="/controls">Show all controls</Link>
              </Empty>
            ) : (
              <Known control={control} set={data.set} data={data} />
            )
          }
        </Answer>
      )}
    </Page>
  );
}

function Known({ control, set, data }: { control: Control; set: ControlSet; data: GetControlSetResponse }) {
  return (
    <>
      <Columns>
        <Documentation control={control} set={set} />
        <Check control={control} set={set} />
      </Columns>
      <Against control={control} />
      <Replay key={`${control.id} ${data.digest}`} control={control} set={set} controls={data.controls} />
      <Evidence id={control.id} />
    </>
  );
}

function Documentation({ control, set }: { control: Control; set: ControlSet }) {
  const { description, owner, frameworks, exceptions, slaDays, appliesTo } = control;
  const days = exceptions?.maxDays ?? 30;
  return (
    <Panel title="Documentation">
      {description === '' ? (
        <p className={styles.muted}>The control has no description.</p>
      ) : (
        <Prose>{description}</Prose>
      )}
      <Facts>
        <Fact name="Owner">{owner === '' ? 'no owner' : <Text>{owner}</Text>}</Fact>
        <Fact name="Applies to">
          <Text>{targetOf(appliesTo)}</Text>
        </Fact>
        {set.stages.map((stage) => (
          <Fact key={stage} name={`At ${stage}`}>
            <Text>{atStage(control, stage) || 'is not evaluated'}</Text>
          </Fact>
        ))}
        <Fact name="Frameworks">
          {frameworks.length === 0 ? (
            'none'
          ) : (
            <span className={styles.list}>
              {frameworks.map((name) => (
                <Text key={name}>{name}</Text>
              ))}
            </span>
          )}
        </Fact>
        <Fact name="Findings end within">{slaOf(slaDays)}</Fact>
        <Fact name="Exceptions">
          {days === 0
            ? 'none are allowed'
            : `at most ${count(days, 'day')}, with ${count(exceptions?.approvers ?? 1, 'approval')} by others${exceptions?.wildcard === true ? ', also for all artifacts' : ''}`}
          {' · '}
          <Link to="/exceptions" search={{ control: control.id }}>
            Show them
          </Link>
        </Fact>
      </Facts>
    </Panel>
  );
}

function Check({ control: { check, includes, id }, set }: { control: Control; set: ControlSet }) {
  return (
    <Panel title="Check">
      {check !== undefined && check.require.length > 0 && (
        <ul className={styles.requirements} aria-label="Requirements">
          {check.require.map((requirement) => (
            <li key={requirement.name}>
              <strong>
                <Text>{requirement.name}</Text>
              </strong>
              : <Text>{needsOf(requirement)}</Text>
              {set.signers
                .filter(({ name }) => requirement.signers.includes(name))
                .map((signer) => (
                  <p key={signer.name} className={styles.muted}>
                    <Text>{`${signer.name} is ${signerOf(signer)}`}</Text>
                  </p>
                ))}
            </li>
          ))}
        </ul>
      )}
      {check !== undefined && check.condition !== '' && (
        <Code label={`condition of ${id}`} text={visible(check.condition)} />
      )}
      {includes.length > 0 && (
        <p className={styles.inline}>
          Includes
          {includes.map((other) => (
            <ControlLink key={other} id={other} />
          ))}
        </p>
      )}
    </Panel>
  );
}

/** The findings against the control that are not resolved. */
function Against({ control }: { control: Control }) {
  const { tenant } = usePerson();
  const query = useQuery(PortalService.method.listFindings, {
    tenant,
    control: control.id,
    states: ['open', 'in-progress', 'reopened'],
    order: FindingOrder.URGENT,
    pageSize: 1,
  });
  return (
    <Panel title="Findings">
      <Answer query={query} label="Counting findings" lines={1}>
        {({ total, overdue }) => (
          <p>
            {total === 0n
              ? 'No finding against it is open.'
              : `${count(total, 'finding')} against it ${total === 1n ? 'is' : 'are'} not resolved, ${overdue.toLocaleString()} overdue.`}{' '}
            <Link to="/findings" search={{ control: control.id }}>
              Show its findings
            </Link>
          </p>
        )}
      </Answer>
    </Panel>
  );
}

const columns: readonly Column<Entry>[] = [
  { id: 'time', header: 'Time', cell: ({ time }) => <Time at={time} /> },
  { id: 'kind', header: 'Kind', cell: ({ kind }) => <Text>{kind}</Text> },
  { id: 'about', header: 'About', cell: (e) => <Subjects of={e} /> },
  {
    id: 'result',
    header: 'What',
    cell: ({ attributes }) => <Text>{factsOf(attributes)}</Text>,
    optional: true,
  },
  {
    id: 'entry',
    header: 'Entry',
    cell: ({ index }) => <EntryLink index={index} />,
  },
];

const Subjects = ({ of: { subjects } }: { of: Entry }) => (
  <span className={styles.list}>
    {subjects.length === 0 && 'no artifact'}
    {subjects.slice(0, 2).map((subject, i) => (
      <ArtifactLink key={i} artifact={subject} />
    ))}
    {subjects.length > 2 && `and ${subjects.length - 2} more`}
  </span>
);

/** What the header of an entry has of its decision or state. */
const factsOf = (attributes: Readonly<Record<string, string>>): string =>
  listed(
    ['stage', 'environment', 'decision', 'status', 'finding', 'exception'].flatMap((name) =>
      attributes[name] === undefined ? [] : [`${name} ${attributes[name]}`],
    ),
  );

/** The entries that name the control, the newest first. */
function Evidence({ id }: { id: string }) {
  const { tenant } = usePerson();
  const query = useQuery(LedgerService.method.listEntries, {
    tenant,
    filter: { control: id },
    order: Order.NEWEST_FIRST,
    pageSize: PAGE_SIZE,
  });
  return (
    <Panel title="Evidence" note="Decisions, findings and exceptions that name it, the newest first" flush>
      <Answer query={query} label="Loading entries">
        {({ entries, nextPageToken }) => (
          <>
            <Table
              label="Entries that name the control"
              rows={entries}
              rowKey={({ index }) => String(index)}
              columns={columns}
              empty={
                <Empty title="No entry names it yet">
                  The first is recorded when a gate asks about an artifact that it applies to.
                </Empty>
              }
            />
            {nextPageToken !== '' && (
              <p className={styles.note}>These are the newest {entries.length}. The search has the others.</p>
            )}
          </>
        )}
      </Answer>
    </Panel>
  );
}
