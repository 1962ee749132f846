import { Link } from '@tanstack/react-router';
import type { Entry } from '../../gen/muniment/v1/ledger_pb';
import { Evidence, Loading, Notice, Time } from '../../ui';

interface Props {
  parts: readonly ('header' | 'payload')[];
  erasure: { data: Entry | null | undefined; error: unknown };
}

/** An entry whose evidence was erased. The proof remains, and another entry records the erasure. */
export function Erased({ parts, erasure: { data, error } }: Props) {
  return (
    <Notice tone="info" title={parts.includes('header') ? 'Header and payload were erased' : 'The payload was erased'}>
      <p>
        The entry keeps its place: the receipt proves that the log recorded it, and not what it was. A receipt without
        its evidence does not prove an erasure. The entry that records it does.
      </p>
      {data === undefined && !error && <Loading label="Searching the erasure" lines={1} />}
      {data === null && (
        <p>This tenant’s stream has no entry that records an erasure of this entry. Ask the operator of the log.</p>
      )}
      {data && (
        <p>
          Erased by <Evidence text={data.submitter} />, <Time at={data.time} relative />, as recorded in{' '}
          <Link to="/entries/$index" params={{ index: String(data.index) }}>
            entry {String(data.index)}
          </Link>
          .
        </p>
      )}
      {Boolean(error) && <p>The entry that records the erasure could not be fetched.</p>}
    </Notice>
  );
}
