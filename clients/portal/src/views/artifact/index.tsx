import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { GateService, type GetControlSetResponse } from '../../gen/muniment/v1/gate_pb';
import { PortalService, type GetArtifactResponse } from '../../gen/muniment/v1/portal_pb';
import { AsOf, Text, visible } from '../../records';
import { usePerson } from '../../session/session';
import { Answer, Digest, Empty, Page, shortDigest } from '../../ui';
import { Decision } from './Decision';
import { Decisions } from './Decisions';
import { Covering, OpenFindings } from './Related';
import { Relations } from './Relations';
import { Timeline } from './Timeline';
import styles from './artifact.module.css';

const route = getRouteApi('/members/artifacts/$digest');

/** Everything about an artifact, and why it passes or not. */
export function View() {
  const { digest } = route.useParams();
  const { tenant } = usePerson();
  const isDigest = /^[^:\s]+:\S+$/u.test(digest) && digest.length <= 1024;
  const artifact = useQuery(
    PortalService.method.getArtifact,
    { tenant, digest },
    { enabled: isDigest, placeholderData: keepPreviousData },
  );
  const set = useQuery(GateService.method.getControlSet, { tenant }, { enabled: isDigest });
  if (!isDigest)
    return (
      <Page title="Artifact">
        <Empty title="This is no digest">An artifact is named by its digest, such as sha256:2cf24dba….</Empty>
      </Page>
    );
  const names = artifact.data?.names ?? [];
  return (
    <Page
      title={visible(names[0] ?? `Artifact ${shortDigest(digest)}`)}
      lead={
        <>
          <Digest value={digest} label="digest" />
          {names.length > 1 && <OtherNames names={names.slice(1)} />}
        </>
      }
    >
      <Answer query={artifact} label="Loading the artifact" lines={10}>
        {(data) => <Artifact digest={digest} data={data} set={set.data} setIsKnown={!set.isPending} />}
      </Answer>
    </Page>
  );
}

const OtherNames = ({ names }: { names: readonly string[] }) => (
  <details className={styles.names}>
    <summary>{names.length === 1 ? '1 other name' : `${names.length} other names`}</summary>
    <ul>
      {names.map((name) => (
        <li key={name}>
          <Text>{name}</Text>
        </li>
      ))}
    </ul>
  </details>
);

interface Props {
  digest: string;
  data: GetArtifactResponse;
  /** Absent: none is in force, or it cannot be read. */
  set: GetControlSetResponse | undefined;
  setIsKnown: boolean;
}

function Artifact({ digest, data, set, setIsKnown }: Props) {
  if (data.timeline.length === 0 && data.names.length === 0 && (data.graph?.nodes.length ?? 0) <= 1)
    return (
      <Empty title="The log has nothing about this artifact">
        Check the digest. If it is right, no evidence about the artifact is recorded for this tenant: record it with
        muniment append. <AsOf state={data.state} />
      </Empty>
    );
  return (
    <>
      {data.timeline.some(({ kind }) => kind === 'backfill-step') && (
        <p>
          This file defines a backfill:{' '}
          <Link to="/backfills/$digest" params={{ digest }}>
            its steps, checkpoints and rehearsal
          </Link>
        </p>
      )}
      {setIsKnown && <Decision digest={digest} artifact={data} set={set} />}
      <OpenFindings artifact={data} digest={digest} />
      <Covering artifact={data} />
      <Decisions decisions={data.decisions} />
      <Timeline first={data} digest={digest} />
      <Relations graph={data.graph} />
    </>
  );
}
