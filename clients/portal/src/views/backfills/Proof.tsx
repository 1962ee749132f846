import type { ReactNode } from 'react';
import { Evidence, Failed, Loading, Notice, Status } from '../../ui';
import type { Proven } from './verified';

/** Shows what was read from a payload, once its receipt is verified. */
export function Proof({ of, label, children }: { of: Proven; label: string; children: ReactNode }) {
  if (of.refused !== undefined)
    return (
      <div className="stack">
        <Notice tone="bad" title={`Nothing is shown of ${label}: its receipt does not verify`}>
          <Evidence text={of.refused} />
        </Notice>
      </div>
    );
  if (of.payload !== undefined)
    return (
      <>
        <p className="stack">
          <Status tone="good">Receipt and payload verified in this browser</Status>
        </p>
        {children}
      </>
    );
  return (
    <div className="stack">
      {of.error ? (
        <Failed error={of.error} onRetry={() => void of.refetch()} />
      ) : (
        <Loading label={`Verifying ${label}`} lines={3} />
      )}
    </div>
  );
}
