import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { classes, Loading, Pages, Visible } from '../../../ui';
import { hexLines, textOf } from './raw';
import styles from './PayloadPanel.module.css';

const pageSizes = { text: 16 << 10, hex: 4 << 10 };

const ids = new WeakMap<Blob, number>();
let lastId = 0;

/** Returns what tells a blob from others. */
function idOf(blob: Blob): number {
  const id = ids.get(blob) ?? ++lastId;
  ids.set(blob, id);
  return id;
}

/** Shows the bytes of a payload, page by page: as text or as hexadecimal digits. */
export function RawView({ blob, as }: { blob: Blob; as: 'text' | 'hex' }) {
  const pageSize = pageSizes[as];
  const [page, setPage] = useState(0);
  const from = page * pageSize;
  const { data } = useQuery({
    queryKey: ['raw', idOf(blob), as, page],
    // A character can begin before the page and end after it.
    queryFn: async () => new Uint8Array(await blob.slice(from, from + pageSize + 3).arrayBuffer()),
    staleTime: Infinity,
    gcTime: 0,
    meta: { live: false },
  });
  if (blob.size === 0) return <p>The payload is empty.</p>;
  if (data === undefined) return <Loading label="Reading the payload" />;
  const isLast = from + pageSize >= blob.size;
  return (
    <div className={styles.raw}>
      <pre
        className={classes(styles.bytes, as === 'hex' && styles.unbroken)}
        tabIndex={0}
        role="region"
        aria-label={as === 'text' ? 'Payload as text' : 'Payload as bytes'}
      >
        <code dir="ltr">
          {as === 'text' ? (
            <Visible text={textOf(data, pageSize, page === 0)} lines />
          ) : (
            hexLines(data.subarray(0, pageSize), from).join('\n')
          )}
        </code>
      </pre>
      <Pages
        label="bytes"
        offset={from}
        count={Math.min(pageSize, blob.size - from)}
        total={blob.size}
        onPrevious={
          page === 0
            ? undefined
            : () => {
                setPage(page - 1);
              }
        }
        onNext={
          isLast
            ? undefined
            : () => {
                setPage(page + 1);
              }
        }
      />
    </div>
  );
}
