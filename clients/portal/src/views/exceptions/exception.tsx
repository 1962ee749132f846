import { useQuery } from '@connectrpc/connect-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { PortalService, type ExceptionRecord, type ExceptionStep, type Person } from '../../gen/muniment/v1/portal_pb';
import {
  AsOf,
  ControlLink,
  EntryLink,
  ExceptionState,
  FindingLink,
  Prose,
  Text,
  visible,
  Who,
  Whos,
} from '../../records';
import { usePerson } from '../../session/session';
import { Answer, Columns, Empty, Fact, Facts, Notice, Page, Panel, Table, Time, type Column } from '../../ui';
import { Decide } from './Decide';
import { Preview } from './Preview';
import { Scope } from './Scope';
import styles from './exceptions.module.css';

const route = getRouteApi('/members/exceptions/$index');

/** One exception: what it covers, what it changes, who may approve it, and its history. */
export function View() {
  const { index } = route.useParams();
  if (!/^\d{1,19}$/u.test(index))
    return (
      <Page title="Exception">
        <Empty title="This is no exception">
          An exception is named by the entry of its request. <Link to="/exceptions">Show all exceptions</Link>.
        </Empty>
      </Page>
    );
  return <Exception index={BigInt(index)} />;
}

function Exception({ index }: { index: bigint }) {
  const { tenant } = usePerson();
  const query = useQuery(PortalService.method.getException, { tenant, index });
  const x = query.data?.exception;
  return (
    <Page
      title={x === undefined ? 'Exception' : `Exception ${visible(x.id)}`}
      lead={
        x && (
          <>
            <ExceptionState of={x.state} /> from control <ControlLink id={x.control} />
            {x.controlTitle !== '' && (
              <>
                , <Text>{x.controlTitle}</Text>
              </>
            )}
          </>
        )
      }
    >
      <Answer query={query} label="Loading the exception">
        {({ exception, approvers, state }) =>
          exception === undefined ? (
            <Empty title="The server has answered without an exception" />
          ) : (
            <>
              <Columns>
                <About x={exception} state={<AsOf state={state} />} />
                <Rule x={exception} approvers={approvers} />
              </Columns>
              <Effect x={exception} />
              <History x={exception} />
            </>
          )
        }
      </Answer>
    </Page>
  );
}

function About({ x, state }: { x: ExceptionRecord; state: React.ReactNode }) {
  const { expires, requestedExpires } = x;
  const isShortened =
    expires !== undefined && requestedExpires !== undefined && expires.seconds !== requestedExpires.seconds;
  return (
    <Panel title="The exception" note={state}>
      <Facts>
        <Fact name="Reason">
          {x.reason === '' ? <span className={styles.muted}>erased</span> : <Prose>{x.reason}</Prose>}
        </Fact>
        <Fact name="Covers">
          <Scope of={x} />
        </Fact>
        <Fact name="Only for">
          {x.findings.length === 0 ? (
            'every reason for which the control is not satisfied'
          ) : (
            <span className={styles.list}>
              {x.findings.map((id) => (
                <FindingLink key={id} id={id} />
              ))}
            </span>
          )}
        </Fact>
        <Fact name={x.inForce || x.state === 'requested' ? 'Ends' : 'Would have ended'}>
          {expires === undefined ? 'the control allows no exceptions' : <Time at={expires} relative />}
          {isShortened && x.steps.every(({ action }) => action !== 'renew') && (
            <p className={styles.muted}>
              The request was for <Time at={requestedExpires} />. The control allows less.
            </p>
          )}
        </Fact>
        <Fact name="Requested by">
          <Who person={x.requester} />
          {x.usedBy && (
            <p className={styles.muted}>
              used by <Who person={x.usedBy} />
            </p>
          )}
        </Fact>
        <Fact name="Requested at">
          <Time at={x.time} />, <EntryLink index={x.index} />
        </Fact>
      </Facts>
    </Panel>
  );
}

/** The two-person rule for this exception, and what the person who reads can do. */
function Rule({ x, approvers }: { x: ExceptionRecord; approvers: readonly Person[] }) {
  const isOpen = x.state === 'requested' || x.unconfirmed;
  const missing = Math.max(0, x.approversNeeded - x.approvers.length);
  const excluded = new Set([x.requester?.id, x.usedBy?.id, ...x.approvers.map(({ id }) => id)]);
  const others = approvers.filter(({ id }) => !excluded.has(id));
  return (
    <Panel title={isOpen ? 'Who may approve' : 'Approval'}>
      {x.unconfirmed && (
        <Notice tone="warn" title="It counts without approval, by break-glass">
          Another person must confirm or reject it.
        </Notice>
      )}
      <Facts>
        <Fact name="Approvals">
          {x.approvers.length} of {x.approversNeeded}
          {x.approvers.length > 0 && (
            <>
              : <Whos people={x.approvers} />
            </>
          )}
        </Fact>
        {isOpen && missing > 0 && (
          <Fact name="Who may approve">
            {others.length > 0 && (
              <ul className={styles.list} aria-label="People who may approve">
                {others.map((person) => (
                  <li key={person.id}>
                    <Who person={person} />
                  </li>
                ))}
              </ul>
            )}
            <p className={styles.muted}>
              {others.length > 0 ? 'And every other person' : 'Every person'} who signs in with the role approver or
              admin, except <Who person={x.requester} />, who has requested it.
            </p>
          </Fact>
        )}
      </Facts>
      <p className={styles.muted}>
        An exception takes two people at least: the requester cannot approve it. The log checks this when it records the
        approval, and a shared token is no person.
      </p>
      <Decide x={x} />
    </Panel>
  );
}

function Effect({ x }: { x: ExceptionRecord }) {
  const { tenant } = usePerson();
  const hasEnded = !x.inForce && x.state !== 'requested';
  const query = useQuery(
    PortalService.method.previewException,
    { tenant, exception: { case: 'request', value: x.index } },
    { enabled: !hasEnded },
  );
  if (hasEnded) return null;
  return (
    <Panel title={x.inForce ? 'What stops passing when it ends' : 'What starts passing when it is approved'} flush>
      <Answer query={query} label="Deciding again">
        {(preview) => <Preview preview={preview} />}
      </Answer>
    </Panel>
  );
}

const did: Readonly<Record<string, string>> = {
  approve: 'Approved',
  reject: 'Rejected',
  revoke: 'Revoked',
  renew: 'Renewed',
};

const columns: readonly Column<ExceptionStep>[] = [
  { id: 'time', header: 'Time', cell: ({ time }) => <Time at={time} /> },
  {
    id: 'action',
    header: 'What',
    cell: ({ action, expires }) => (
      <>
        {did[action] ?? action}
        {expires && (
          <>
            {' '}
            until <Time at={expires} />
          </>
        )}
      </>
    ),
  },
  { id: 'by', header: 'By', cell: ({ by }) => <Who person={by} /> },
  {
    id: 'reason',
    header: 'Reason',
    cell: ({ reason }) => (reason === '' ? 'none' : <Text>{reason}</Text>),
  },
  {
    id: 'entry',
    header: 'Entry and receipt',
    cell: ({ index }) => <EntryLink index={index} />,
  },
];

function History({ x }: { x: ExceptionRecord }) {
  return (
    <Panel title="History" note="Each step is an entry of the log. Its page has the receipt." flush>
      <Table
        label="Decisions about the exception"
        rows={x.steps}
        rowKey={({ index }) => String(index)}
        columns={columns}
        empty={<Empty title="No decision about it yet" />}
      />
    </Panel>
  );
}
