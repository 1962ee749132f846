/** What a view shows instead of contents: loading, empty, failed, stale. */

import { useRouter } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { problemOf } from '../api/errors';
import { Button } from './Button';
import { Notice } from './Status';
import styles from './State.module.css';

/** Lines in place of contents that are being fetched. */
export function Loading({ label = 'Loading', lines = 5 }: { label?: string; lines?: number }) {
  return (
    <div className={styles.loading} role="status" aria-label={label}>
      {Array.from({ length: lines }, (_, i) => (
        <span key={i} className={styles.line} />
      ))}
    </div>
  );
}

/** Says that there is nothing, why, and what to do about it. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={styles.empty}>
      <p className={styles.title}>{title}</p>
      {children !== undefined && <div className={styles.detail}>{children}</div>}
    </div>
  );
}

/** Shows an error, and offers another try if one can succeed. */
export function Failed({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { title, detail, retry } = problemOf(error);
  return (
    <div className={styles.failed}>
      <Notice tone="bad" title={title}>
        {detail}
      </Notice>
      {retry && onRetry !== undefined && <Button onPress={onRetry}>Try again</Button>}
    </div>
  );
}

/** Contents that may be old, because the last attempt to fetch them failed. */
export function Stale({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { title, detail, retry } = problemOf(error);
  return (
    <div className={styles.failed}>
      <Notice tone="warn" title="What you see may be old">
        {title}: {detail}
      </Notice>
      {retry && onRetry !== undefined && <Button onPress={onRetry}>Try again</Button>}
    </div>
  );
}

/** The parts of a query that decide what is shown. */
interface Fetched<Data> {
  data: Data | undefined;
  error: unknown;
  refetch: () => unknown;
}

/**
 * Shows the answer of a query, or its loading, error or stale state.
 *
 * @param children draws the answer
 */
export function Answer<Data>({
  query,
  children,
  lines,
  label,
}: {
  query: Fetched<Data>;
  children: (data: Data) => ReactNode;
  lines?: number;
  label?: string;
}) {
  const retry = () => void query.refetch();
  if (query.data === undefined)
    return query.error ? (
      <Failed error={query.error} onRetry={retry} />
    ) : (
      <Loading {...(lines !== undefined && { lines })} {...(label !== undefined && { label })} />
    );
  return (
    <>
      {Boolean(query.error) && <Stale error={query.error} onRetry={retry} />}
      {children(query.data)}
    </>
  );
}

/** What a route shows if its view has failed. */
export function ViewFailed({ error }: { error: unknown }) {
  const router = useRouter();
  return <Failed error={error} onRetry={() => void router.invalidate()} />;
}
