import type { ExceptionRecord } from '../../gen/muniment/v1/portal_pb';
import { ArtifactLink, digestOf, Text } from '../../records';
import styles from './exceptions.module.css';

/** What an exception covers: artifacts, patterns of names, and environments. */
export function Scope({
  of: { subjects, subjectCount, globs, environments },
  most = 16,
}: {
  of: Pick<ExceptionRecord, 'subjects' | 'subjectCount' | 'globs' | 'environments'>;
  most?: number;
}) {
  const artifacts = subjects.slice(0, most);
  const names = globs.slice(0, Math.max(0, most - artifacts.length));
  const rest = subjectCount + globs.length - artifacts.length - names.length;
  return (
    <span className={styles.scope}>
      {artifacts.map((artifact) => (
        <ArtifactLink key={digestOf(artifact.digest)} artifact={artifact} />
      ))}
      {names.map((glob) => (
        <code key={glob}>
          <Text>{glob}</Text>
        </code>
      ))}
      {rest > 0 && <span className={styles.muted}>and {rest} more</span>}
      {environments.length > 0 && (
        <span className={styles.muted}>
          in{' '}
          {environments.slice(0, most).map((name, i) => (
            <span key={name}>
              {i > 0 && ', '}
              <Text>{name}</Text>
            </span>
          ))}
          {environments.length > most && ` and ${environments.length - most} more`}
        </span>
      )}
    </span>
  );
}
