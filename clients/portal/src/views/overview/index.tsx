import { timestampFromMs, type Timestamp } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError } from '@connectrpc/connect';
import { callUnaryMethod } from '@connectrpc/connect-query';
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { transport } from '../../api/transport';
import { PortalService, type Connection, type GetOverviewResponse } from '../../gen/muniment/v1/portal_pb';
import { AsOf, count } from '../../records';
import { usePerson } from '../../session/session';
import { Answer, dateOf, Notice, Page, Panel, useNow } from '../../ui';
import { Coverage } from './Coverage';
import { Decisions } from './Decisions';
import { Exceptions } from './Exceptions';
import { Findings } from './Findings';
import { Log } from './Log';
import { Connect } from './parts';
import { beginningOfDay } from './state';
import { Backfills, Caches, Triage, Verification } from './Systems';
import { Tiles } from './Tiles';
import styles from './overview.module.css';

/** Witnesses and anchors move without new entries, which are what updates the view otherwise. */
const healthEvery = 30_000;
/** The server reads more of the log with each request. */
const behindEvery = 1_000;

/** The state of a tenant at a glance. */
export function View() {
  const { tenant } = usePerson();
  const today = beginningOfDay(useNow());
  const query = useQuery({
    queryKey: ['overview', tenant, today],
    queryFn: ({ signal }) => getOverview(tenant, today, signal),
    placeholderData: (before, query) => (query?.queryKey[1] === tenant ? before : undefined),
    refetchInterval: ({ state: { data } }) => ((data?.behind ?? 0n) > 0n ? behindEvery : healthEvery),
  });
  return (
    <Page title="Overview" lead={query.data && <AsOf state={query.data.state} />}>
      <Answer query={query} label="Loading the overview" lines={12}>
        {(overview) => (
          <>
            {overview.behind > 0n && (
              <Notice tone="info" title="The server is still reading the log">
                {count(overview.behind, 'index', 'indexes')} of it are not in the numbers yet.
              </Notice>
            )}
            {dateOf(overview.decisions?.since ?? '')?.getTime() !== today && !query.isPlaceholderData && (
              <Notice tone="warn" title="The clock of this computer is not that of the server">
                The decisions of today are counted from 00:00 UTC, by the clock of the server.
              </Notice>
            )}
            <Tiles of={overview} />
            <Parts of={overview} />
          </>
        )}
      </Answer>
    </Page>
  );
}

/** Asks for the day of the browser or, if its clock is far off, for that of the server. */
async function getOverview(tenant: string, today: number, signal: AbortSignal): Promise<GetOverviewResponse> {
  const ask = (day: { today?: Timestamp }) =>
    callUnaryMethod(transport, PortalService.method.getOverview, { tenant, ...day }, { signal });
  try {
    return await ask({ today: timestampFromMs(today) });
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.InvalidArgument) return await ask({});
    throw error;
  }
}

/** A part of the overview, and what it needs. */
interface Part {
  title: string;
  /** What it shows once it is connected. */
  about: string;
  connection: Connection | undefined;
  /** Which stack it stands in. */
  stack: 'start' | 'end';
  show: () => ReactNode;
}

/** The parts in their order. */
function partsOf(overview: GetOverviewResponse): Part[] {
  const { coverage, decisions, findings, exceptions, backfills, triage, caches, verification } = overview;
  const part = <Of extends { connection?: Connection | undefined }>(
    of: Of | undefined,
    stack: Part['stack'],
    title: string,
    about: string,
    show: (of: Of) => ReactNode,
  ): Part => ({ title, about, stack, connection: of?.connection, show: () => of && show(of) });
  return [
    part(decisions, 'start', 'Decisions', 'What gates pass and stop. Ask a gate in a pipeline or a cluster:', (of) => (
      <Decisions of={of} />
    )),
    part(
      exceptions,
      'end',
      'Exceptions',
      'What passes without satisfying a control, and until when. Request one:',
      (of) => <Exceptions of={of} />,
    ),
    part(
      findings,
      'start',
      'Findings',
      'Problems until they are resolved. Import those of a scanner or an audit:',
      (of) => <Findings of={of} />,
    ),
    part(
      coverage,
      'end',
      'Coverage',
      'The share of what exists and runs that is attested. Record inventories:',
      (of) => <Coverage of={of} />,
    ),
    part(caches, 'start', 'Caches', 'Latency and hit ratios. Record snapshots of metrics:', (of) => <Caches of={of} />),
    part(
      verification,
      'end',
      'Verification by SDKs',
      'How often receipts verify. Record the reports of SDKs:',
      (of) => <Verification of={of} />,
    ),
    part(
      triage,
      'end',
      'Triage',
      'Actions in response to incidents, and the time to the first. Record actions:',
      (of) => <Triage of={of} />,
    ),
    part(backfills, 'end', 'Backfills', 'Progress, canary scores and rollbacks. Record checkpoints:', (of) => (
      <Backfills of={of} />
    )),
  ];
}

function Parts({ of: overview }: { of: GetOverviewResponse }) {
  const parts = partsOf(overview);
  const isConnected = ({ connection }: Part) => connection?.connected === true;
  const others = parts.filter((part) => !isConnected(part));
  const stack = (name: Part['stack']) =>
    parts
      .filter((part) => part.stack === name && isConnected(part))
      .map(({ title, show }) => (
        <div key={title} className={styles.column}>
          {show()}
        </div>
      ));
  return (
    <>
      <div className={styles.stacks}>
        <div className={styles.column}>{stack('start')}</div>
        <div className={styles.column}>
          {overview.log && <Log of={overview.log} />}
          {stack('end')}
        </div>
      </div>
      {others.length > 0 && (
        <Panel title="Not connected yet" note="The log has no entries for these. They appear above with the first">
          <div className={styles.unconnected}>
            {others.map(({ title, about, connection }) => (
              <Connect key={title} title={title} about={about} of={connection} />
            ))}
          </div>
        </Panel>
      )}
    </>
  );
}
