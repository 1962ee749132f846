import { useCallback, useEffect, useRef, useState } from 'react';
import type { Entry } from '../../gen/muniment/v1/ledger_pb';
import { count, EntryLink } from '../../records';
import { usePerson } from '../../session/session';
import { Button, Evidence, Notice, Panel, Status } from '../../ui';
import { useTrust } from '../entry/data';
import { verifyAll, type Verification } from './verified';

/** A verification of receipts: its results so far, and how to begin it. */
export interface Run {
  /** Absent: it has not begun. */
  results: readonly Verification[] | undefined;
  start: () => void;
}

/** Verifies the receipts of entries when somebody asks for it. */
export function useReceipts(entries: readonly Entry[]): Run {
  const { tenant } = usePerson();
  const trust = useTrust();
  const [results, setResults] = useState<readonly Verification[]>();
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const start = useCallback(() => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    setResults([]);
    void verifyAll(tenant, entries, trust, controller.signal, (result) => {
      setResults((before = []) => [...before, result]);
    });
  }, [tenant, entries, trust]);
  return { results, start };
}

/** Verifies the receipts of all steps when somebody asks for it. */
export const Receipts = ({ entries }: { entries: readonly Entry[] }) => (
  <ReceiptsOf entries={entries} run={useReceipts(entries)} />
);

/** The state of a verification. */
export function ReceiptsOf({ entries, run: { results, start } }: { entries: readonly Entry[]; run: Run }) {
  const isRunning = results !== undefined && results.length < entries.length;
  const refused = results?.filter(({ problem }) => problem !== undefined) ?? [];
  return (
    <Panel title="Receipts" note="This page lists what the server returns. Its receipts prove it" flush>
      <div className="stack">
        <p role="status">
          {results === undefined ? (
            <Status tone="neutral">{count(entries.length, 'receipt')} not verified yet</Status>
          ) : isRunning ? (
            <Status tone="pending">
              {results.length} of {count(entries.length, 'receipt')} checked
            </Status>
          ) : refused.length === 0 ? (
            <Status tone="good">{count(entries.length, 'receipt')} verified in this browser</Status>
          ) : (
            <Status tone="bad">
              {refused.length} of {count(entries.length, 'receipt')} do not verify
            </Status>
          )}
        </p>
        {refused.slice(0, 5).map(({ index, problem = '' }) => (
          <Notice key={String(index)} tone="bad" title={<EntryLink index={index} />}>
            <Evidence text={problem} />
          </Notice>
        ))}
        <div>
          <Button onPress={start} isDisabled={isRunning}>
            {results === undefined ? 'Verify all receipts' : 'Verify again'}
          </Button>
        </div>
      </div>
    </Panel>
  );
}
