/** What the list of findings and the page of one share. */

import type { FindingRecord } from '../../gen/muniment/v1/portal_pb';
import { ArtifactLink, ControlLink } from '../../records';
import { Status, Time } from '../../ui';
import styles from './findings.module.css';

/** When a finding must be resolved. */
export function Due({ of: { due, overdue, state } }: { of: FindingRecord }) {
  if (state === 'resolved') return <>resolved</>;
  if (due === undefined) return <>no deadline</>;
  return (
    <span className={styles.due}>
      {overdue && <Status tone="bad">Overdue</Status>} <Time at={due} relative />
    </span>
  );
}

export function About({ of: { subjects, subjectCount }, most = 2 }: { of: FindingRecord; most?: number }) {
  if (subjectCount === 0) return <>the controls</>;
  return (
    <span className={styles.list}>
      {subjects.slice(0, most).map((artifact, i) => (
        <ArtifactLink key={i} artifact={artifact} />
      ))}
      {subjectCount > Math.min(most, subjects.length) && (
        <span className={styles.muted}>and {subjectCount - Math.min(most, subjects.length)} more</span>
      )}
    </span>
  );
}

export const Controls = ({ of }: { of: readonly string[] }) => (
  <span className={styles.list}>
    {of.slice(0, 4).map((id) => (
      <ControlLink key={id} id={id} />
    ))}
    {of.length > 4 && <span className={styles.muted}>and {of.length - 4} more</span>}
  </span>
);
