import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { useQuery } from '@connectrpc/connect-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { PortalService, type ExceptionRecord } from '../../gen/muniment/v1/portal_pb';
import { AsOf, ControlLink, count, EntryLink, ExceptionLink, ExceptionState, Filters, Who } from '../../records';
import { usePaging } from '../../records/paging';
import { usePerson } from '../../session/session';
import { Answer, buttonClass, Empty, Page, Pages, Panel, Table, Time, useNow, type Column } from '../../ui';
import { Scope } from './Scope';

const route = getRouteApi('/members/exceptions');

const states = {
  waiting: ['requested', 'break-glass'],
  'in-force': ['approved', 'break-glass'],
  ended: ['rejected', 'revoked', 'expired', 'void'],
};

const day = 86_400_000;

/** The exceptions, the newest first. */
export function View() {
  const { show, expires, control = '', page, from } = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant } = usePerson();
  const now = useNow();
  const days = expires === undefined ? 0 : Number.parseInt(expires, 10);
  // To the hour, so that the passing of time does not ask again all the time.
  const until = (Math.floor(now / 3_600_000) + 1) * 3_600_000 + days * day;
  const query = useQuery(PortalService.method.listExceptions, {
    tenant,
    control,
    states: show === undefined ? [] : states[show],
    ...(days > 0 && { expireBefore: timestampFromMs(until) }),
    ...(page !== undefined && { pageToken: page }),
  });
  const pages = usePaging({ page, from }, query.data?.nextPageToken ?? '', ({ search, state }) => {
    void navigate({
      state,
      search: {
        ...(show && { show }),
        ...(expires && { expires }),
        ...(control && { control }),
        ...search,
      },
    });
  });
  const only = control === '' ? {} : { control };
  const isAll = show === undefined && expires === undefined;
  return (
    <Page
      title="Exceptions"
      lead="An exception lets artifacts pass without satisfying a control, until it ends. One person requests it, and another approves it."
      actions={
        <Link to="/exceptions/new" className={buttonClass('primary')} search={only}>
          Request an exception
        </Link>
      }
    >
      <Filters
        label="Filters of exceptions"
        to="/exceptions"
        filters={[
          { label: 'All', search: only, current: isAll },
          {
            label: 'Waiting for approval',
            search: { ...only, show: 'waiting' },
            current: show === 'waiting',
          },
          {
            label: 'In force',
            search: { ...only, show: 'in-force' },
            current: show === 'in-force' && days === 0,
          },
          {
            label: 'Expires this week',
            search: { ...only, expires: '7d' },
            current: expires === '7d',
          },
          {
            label: 'Expires within 14 days',
            search: { ...only, expires: '14d' },
            current: expires === '14d',
          },
          {
            label: 'Expires within 30 days',
            search: { ...only, expires: '30d' },
            current: expires === '30d',
          },
          {
            label: 'Ended',
            search: { ...only, show: 'ended' },
            current: show === 'ended',
          },
        ]}
      />
      <Answer query={query} label="Loading exceptions">
        {({ exceptions, total, state }) => (
          <Panel
            title={days > 0 ? `Expire within ${days} days` : count(total, 'exception')}
            note={
              <>
                {days > 0 && (
                  <>
                    {count(total, 'exception')}, until <Time at={until} />.{' '}
                  </>
                )}
                {control !== '' && (
                  <>
                    Only from <ControlLink id={control} />. <Link to="/exceptions">Show all</Link>.{' '}
                  </>
                )}
                <AsOf state={state} />
              </>
            }
            flush
          >
            <Table
              label="Exceptions"
              rows={exceptions}
              rowKey={({ index }) => String(index)}
              columns={columns}
              offset={pages.offset}
              total={Number(total)}
              empty={<None filtered={!isAll || control !== ''} days={days} />}
            />
            <Pages label="exceptions" count={exceptions.length} total={Number(total)} {...pages} />
          </Panel>
        )}
      </Answer>
    </Page>
  );
}

const columns: readonly Column<ExceptionRecord>[] = [
  {
    id: 'id',
    header: 'Exception',
    cell: ({ id, index }) => <ExceptionLink id={id} index={index} />,
  },
  {
    id: 'state',
    header: 'State',
    cell: (x) => <ExceptionState of={x.state} />,
  },
  {
    id: 'control',
    header: 'From control',
    cell: ({ control }) => <ControlLink id={control} />,
  },
  { id: 'ends', header: 'Ends', cell: (x) => <End of={x} /> },
  {
    id: 'scope',
    header: 'Covers',
    cell: (x) => <Scope of={x} most={2} />,
    optional: true,
  },
  {
    id: 'requester',
    header: 'Requested by',
    cell: ({ requester }) => <Who person={requester} />,
    optional: true,
  },
  {
    id: 'approvals',
    header: 'Approvals',
    align: 'end',
    cell: ({ approvers, approversNeeded }) => `${approvers.length} of ${approversNeeded}`,
    optional: true,
  },
  {
    id: 'entry',
    header: 'Request',
    cell: ({ index }) => <EntryLink index={index} />,
    optional: true,
  },
];

/** When an exception ends, or that it never counts again. */
function End({ of: { state, expires, requestedExpires } }: { of: ExceptionRecord }) {
  if (state === 'rejected' || state === 'revoked' || state === 'void') return <>has ended</>;
  const at = expires ?? requestedExpires;
  return at === undefined ? <>the control allows none</> : <Time at={at} relative />;
}

function None({ filtered, days }: { filtered: boolean; days: number }) {
  if (days > 0)
    return <Empty title="Nothing expires in this time">Exceptions that are in force stay so until then.</Empty>;
  if (filtered)
    return (
      <Empty title="No exception is like this">
        <Link to="/exceptions">Show all exceptions</Link>
      </Empty>
    );
  return (
    <Empty title="No exception was requested yet">
      If an artifact must pass although a control is not satisfied, request one. It has no effect until another person
      approves it.
    </Empty>
  );
}
