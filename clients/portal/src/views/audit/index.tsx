import { useQuery as useCall } from '@connectrpc/connect-query';
import { useQuery } from '@tanstack/react-query';
import { parseCheckpoint } from '@muniment/verify/proof';
import { useMemo } from 'react';
import { PortalService, type WitnessHealth } from '../../gen/muniment/v1/portal_pb';
import { usePerson, useSession } from '../../session/session';
import { logKeyIn, trustOf, type Trust } from '../../trust/record';
import { PolicyInput } from '../../trust/PolicyInput';
import { useTrustRecord } from '../../trust/store';
import {
  Answer,
  Button,
  Digest,
  Empty,
  Fact,
  Facts,
  formatNumber,
  hex,
  Notice,
  Page,
  Panel,
  Status,
  Table,
  Time,
  type Column,
} from '../../ui';
import { audit, type Audit } from './audit';
import type { Alarm, Remembered } from './memory';

/** Checks in this browser that the log only grows. */
export function View() {
  const { tenant } = usePerson();
  const { log = '', policy = '' } = useSession().data ?? {};
  const record = useTrustRecord();
  const trust = useMemo(() => (record === undefined ? undefined : trustOf(record, logKeyIn(policy))), [record, policy]);
  const query = useQuery({
    queryKey: ['audit', log, record, policy],
    queryFn: ({ signal }) => audit(log, trust?.policies ?? [], signal),
    staleTime: 0,
  });
  const health = useCall(PortalService.method.getLogHealth, { tenant });
  return (
    <Page
      title="Audit"
      lead="This browser remembers checkpoints of the log, and checks that each newer one contains all entries of those before."
      actions={
        <Button isDisabled={query.isFetching} onPress={() => void query.refetch()}>
          Check again
        </Button>
      }
    >
      <Answer query={query} label="Loading the checkpoint">
        {(result) => (
          <>
            <Alarms alarms={result.memory.alarms} />
            <Current result={result} trust={trust} />
            <Panel title="Witnesses" note="as the server reports them" flush>
              <Answer query={health} label="Loading the witnesses">
                {({ log: state }) => (
                  <Table
                    label="Witnesses"
                    columns={witnessColumns}
                    rows={state?.witnesses ?? []}
                    rowKey={({ name }) => name}
                    empty={
                      <Empty title="The log has no witnesses">
                        Without a witness, a fork that is shown to others only cannot be seen here. How to add one is in
                        Muniment’s documentation: docs/witness.md.
                      </Empty>
                    }
                  />
                )}
              </Answer>
            </Panel>
            <Panel title="Remembered checkpoints" note={`${result.memory.checkpoints.length} in this browser`} flush>
              <Table
                label="Remembered checkpoints"
                columns={columns}
                rows={[...result.memory.checkpoints].reverse()}
                rowKey={({ note }) => note}
                empty={
                  <Empty title="No checkpoint is remembered">The first that the trusted key has signed will be.</Empty>
                }
              />
            </Panel>
          </>
        )}
      </Answer>
    </Page>
  );
}

function Current({ result, trust }: { result: Audit; trust: Trust | undefined }) {
  const { checkpoint, signers, refused, before, consistent, forgetful } = result;
  return (
    <Panel title="The latest checkpoint">
      <div role="status">
        {refused !== undefined ? (
          <Status tone="bad">The signatures are not accepted</Status>
        ) : consistent === false ? (
          <Status tone="bad">Does not continue the one before</Status>
        ) : before === undefined ? (
          <Status tone="info">The first that this browser has seen</Status>
        ) : (
          <Status tone="good">Contains all entries of the one before</Status>
        )}
      </div>
      {refused !== undefined && (
        <Notice tone="bad" title="This checkpoint is not remembered">
          <p>{refused}</p>
          <PolicyInput />
        </Notice>
      )}
      {trust?.state === 'changed' && (
        <Notice tone="bad" title="The server presents another key than the one that is pinned">
          Pinned: <code>{trust.trusted}</code>. Presented: <code>{trust.presented}</code>.
        </Notice>
      )}
      {forgetful !== undefined && (
        <Notice tone="warn" title="The browser could not store the checkpoint">
          {forgetful}
        </Notice>
      )}
      <Facts>
        <Fact name="Log">{checkpoint.origin}</Fact>
        <Fact name="Entries">{formatNumber(checkpoint.size)}</Fact>
        <Fact name="Root hash">
          <Digest value={hex(checkpoint.root)} label="root hash" full />
        </Fact>
        <Fact name="Signed by">
          {signers.length === 0 ? 'no trusted key' : signers.map((signer) => <div key={signer}>{signer}</div>)}
        </Fact>
        {before !== undefined && (
          <Fact name="Compared with">
            the checkpoint of {formatNumber(before.checkpoint.size)} entries, seen <Time at={before.seen} />
          </Fact>
        )}
      </Facts>
    </Panel>
  );
}

const titles = {
  rollback: 'The log was rolled back',
  fork: 'The log has forked',
};

/** Alarms are kept: a server cannot take back what it has signed. */
function Alarms({ alarms }: { alarms: readonly Alarm[] }) {
  return alarms.map((alarm) => (
    <Notice key={alarm.before + alarm.after} tone="bad" title={titles[alarm.kind]}>
      <p>
        Found <Time at={alarm.found} />. The checkpoint of {sizeOf(alarm.before)} entries and that of{' '}
        {sizeOf(alarm.after)} entries are both signed by the log, and the second does not contain the first. Keep both
        as evidence, and tell the auditors and the operator.
      </p>
      <p>
        <Button
          kind="danger"
          onPress={() => {
            save(alarm);
          }}
        >
          Save both checkpoints
        </Button>
      </p>
    </Notice>
  ));
}

const sizeOf = (note: string) => formatNumber(parseCheckpoint(note).size);

function save(alarm: Alarm): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(alarm, undefined, 2)], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${alarm.kind}.json`;
  link.click();
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}

const columns: Column<Remembered>[] = [
  { id: 'size', header: 'Entries', cell: ({ note }) => sizeOf(note) },
  {
    id: 'root',
    header: 'Root hash',
    cell: ({ note }) => <Digest value={hex(parseCheckpoint(note).root)} label="root hash" />,
  },
  { id: 'seen', header: 'Seen', cell: ({ seen }) => <Time at={seen} relative /> },
];

const witnessColumns: Column<WitnessHealth>[] = [
  { id: 'name', header: 'Witness', cell: ({ name }) => name },
  { id: 'size', header: 'Cosigned', align: 'end', cell: ({ size }) => formatNumber(size) },
  {
    id: 'lag',
    header: 'Behind',
    cell: ({ lag }) =>
      lag === 0n ? <Status tone="good">up to date</Status> : <Status tone="warn">{formatNumber(lag)} entries</Status>,
  },
  { id: 'failures', header: 'Failures', align: 'end', cell: ({ failures }) => formatNumber(failures), optional: true },
];
