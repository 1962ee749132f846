import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { PortalService, type GetArtifactResponse, type TimelineItem } from '../../gen/muniment/v1/portal_pb';
import { EntryLink, Text, VerificationState, Who } from '../../records';
import { usePaging } from '../../records/paging';
import { usePerson } from '../../session/session';
import { Answer, Empty, Pages, Panel, Table, Time, type Column } from '../../ui';
import styles from './artifact.module.css';

const route = getRouteApi('/members/artifacts/$digest');

const columns: readonly Column<TimelineItem>[] = [
  { id: 'time', header: 'Time', cell: ({ time }) => <Time at={time} /> },
  {
    id: 'what',
    header: 'What',
    cell: ({ summary, kind, relation }) => (
      <span className={styles.what}>
        <Text>{summary === '' ? kind : `${words(relation)}: ${summary}`}</Text>
      </span>
    ),
  },
  {
    id: 'verification',
    header: 'Signatures',
    cell: ({ verification }) => <VerificationState of={verification} />,
  },
  {
    id: 'entry',
    header: 'Entry',
    cell: ({ index }) => <EntryLink index={index} />,
  },
  {
    id: 'by',
    header: 'Recorded by',
    cell: ({ submitter }) => <Who person={submitter} />,
    optional: true,
  },
];

/** Relations such as built-by, as a sentence begins. */
function words(relation: string): string {
  const text = relation.replaceAll('-', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The entries about the artifact, the newest first. */
export function Timeline({ first, digest }: { first: GetArtifactResponse; digest: string }) {
  const { tenant } = usePerson();
  const { page, from } = route.useSearch();
  const navigate = route.useNavigate();
  const isFirst = page === undefined;
  const later = useQuery(
    PortalService.method.getArtifact,
    { tenant, digest, pageToken: page ?? '' },
    { enabled: !isFirst, placeholderData: keepPreviousData },
  );
  const query = isFirst ? { data: first, error: null, refetch: later.refetch } : later;
  const pages = usePaging({ page, from }, query.data?.nextPageToken ?? '', ({ search, state }) => {
    void navigate({
      search: (now) => ({ ...now, page: undefined, from: undefined, ...search }),
      state,
      resetScroll: false,
    });
  });
  return (
    <Panel title="Timeline" note="Every entry about it, the newest first" flush>
      <Answer query={query} label="Loading the timeline">
        {({ timeline }) => (
          <>
            <Table
              label="Entries about the artifact"
              rows={timeline}
              rowKey={({ index }) => String(index)}
              columns={columns}
              empty={<Empty title="No entry is about it">Other artifacts name it as a material.</Empty>}
            />
            <Pages label="the timeline" count={timeline.length} {...pages} />
          </>
        )}
      </Answer>
    </Panel>
  );
}
