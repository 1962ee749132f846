/** Links from one record to another. */

import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { Artifact } from '../gen/muniment/v1/kinds_pb';
import { shortDigest } from '../ui/Digest';
import styles from './records.module.css';
import { Text } from './Text';
import { digestOf } from './text';

export const EntryLink = ({ index, children }: { index: bigint; children?: ReactNode }) => (
  <Link to="/entries/$index" params={{ index: String(index) }} className={styles.entry}>
    {children ?? `entry ${String(index)}`}
  </Link>
);

/** Links to several entries. */
export function EntryLinks({ indexes, most = 8 }: { indexes: readonly bigint[]; most?: number }) {
  return (
    <span className={styles.list}>
      {indexes.slice(0, most).map((index) => (
        <EntryLink key={String(index)} index={index} />
      ))}
      {indexes.length > most && <span className={styles.muted}>and {indexes.length - most} more</span>}
    </span>
  );
}

/** An artifact, by its name if it has one. */
export function ArtifactLink({ artifact }: { artifact: Pick<Artifact, 'name' | 'digest'> }) {
  const digest = digestOf(artifact.digest);
  const label = artifact.name === '' ? <code>{shortDigest(digest)}</code> : <Text>{artifact.name}</Text>;
  if (digest === '') return label;
  return (
    <Link to="/artifacts/$digest" params={{ digest }} title={digest}>
      {label}
    </Link>
  );
}

export const ControlLink = ({ id }: { id: string }) => (
  <Link to="/controls/$id" className={styles.id} params={{ id }}>
    <Text>{id}</Text>
  </Link>
);

export const FindingLink = ({ id, first }: { id: string; first?: bigint }) => (
  <Link
    to="/findings/$id"
    className={styles.id}
    params={{ id }}
    search={first === undefined ? {} : { first: String(first) }}
  >
    <Text>{id}</Text>
  </Link>
);

export const ExceptionLink = ({ id, index }: { id: string; index: bigint }) => (
  <Link to="/exceptions/$index" className={styles.id} params={{ index: String(index) }}>
    <Text>{id}</Text>
  </Link>
);
