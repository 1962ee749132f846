import { Code, ConnectError } from '@connectrpc/connect';
import { Link, useParams } from '@tanstack/react-router';
import { Empty, Failed, formatNumber, Loading, Page } from '../../ui';
import { usePerson } from '../../session/session';
import { useLive } from '../../live/live';
import { useEntry } from './data';
import { EntryView } from './EntryView';
import { useEffect } from 'react';

/** One entry of the log. */
export function View() {
  const { index } = useParams({ from: '/members/entries/$index' });
  if (!/^(0|[1-9][0-9]{0,15})$/.test(index))
    return (
      <Page title="Entry">
        <Empty title="This is not the index of an entry">
          Entries are numbered from 0, without signs and leading zeros. <Link to="/search">Search</Link> for anything
          else.
        </Empty>
      </Page>
    );
  return <Numbered key={index} index={BigInt(index)} />;
}

function Numbered({ index }: { index: bigint }) {
  const { tenant } = usePerson();
  const subject = useEntry(tenant, index);
  const title = `Entry ${formatNumber(index)}`;
  const error = subject.entry.error ?? subject.receipt.error;
  if (error instanceof ConnectError && error.code === Code.NotFound) return <Absent title={title} tenant={tenant} />;
  if (error instanceof ConnectError && error.code === Code.OutOfRange)
    return <Ahead title={title} onArrival={subject.entry.refetch} detail={error.rawMessage} />;
  if (subject.receipt.data === undefined && subject.entry.data === undefined)
    return (
      <Page title={title}>
        {error ? (
          <Failed
            error={error}
            onRetry={() => {
              void subject.entry.refetch();
              void subject.receipt.refetch();
            }}
          />
        ) : (
          <Loading label="Fetching the entry and its receipt" lines={8} />
        )}
      </Page>
    );
  return <EntryView title={title} tenant={tenant} index={index} subject={subject} />;
}

function Absent({ title, tenant }: { title: string; tenant: string }) {
  return (
    <Page title={title}>
      <Empty title={`The stream of ${tenant} has no such entry`}>
        The log has an entry with this index, or had none when it was asked. It can be the entry of another tenant:
        nothing about those is shown.
      </Empty>
    </Page>
  );
}

/** The server does not have the entry yet. It is asked again when entries arrive. */
function Ahead({ title, detail, onArrival }: { title: string; detail: string; onArrival: () => unknown }) {
  const { heard } = useLive();
  useEffect(() => {
    const timer = setInterval(() => void onArrival(), 5_000);
    return () => {
      clearInterval(timer);
    };
  }, [heard, onArrival]);
  return (
    <Page title={title}>
      <Empty title="This server does not have the entry yet">
        {detail}. If you have the index from another server, this one is a replica that is behind. The page asks again
        every few seconds.
      </Empty>
    </Page>
  );
}
