import { parseReceipt } from '@muniment/verify';
import { useMemo } from 'react';
import { Button, Code, Download, Panel } from '../../ui';
import { trustStore, useTrustRecord } from '../../trust/store';
import { PolicyInput } from '../../trust/PolicyInput';
import type { Subject } from './data';
import styles from './entry.module.css';

/** Files and commands for a verification without this page. */
export function TakeAway({
  receipt,
  tenant,
  index,
  subject,
}: {
  receipt: Uint8Array;
  tenant: string;
  index: bigint;
  subject: Subject;
}) {
  const proof = useMemo(() => proofOf(receipt), [receipt]);
  const name = `entry-${index}`;
  return (
    <Panel title="Verify it yourself" note="without this page, this server and a network">
      <div className={styles.buttons}>
        <Download content={receipt} name={`${name}.receipt.json`}>
          Download the receipt
        </Download>
        {proof !== undefined && (
          <Download content={proof} name={`${name}.tlog-proof`}>
            Download the proof
          </Download>
        )}
        {subject.trust.policies.length > 0 && subject.trust.trusted !== undefined && (
          <Download content={new TextEncoder().encode(`log ${subject.trust.trusted}\nquorum none\n`)} name="policy">
            Download the pinned key
          </Download>
        )}
      </div>
      <Code label="commands" text={commands(subject, tenant, index, name)} />
      <TrustText />
    </Panel>
  );
}

function commands({ checked }: Subject, tenant: string, index: bigint, name: string): string {
  const statement = checked?.verdict === 'verified' ? checked.statement : undefined;
  const kind = statement?.header?.kind;
  const expected = `--tenant ${tenant}${kind === undefined ? '' : ` --kind ${kind}`}`;
  if (statement?.erased !== undefined)
    return `muniment verify ${name}.receipt.json --policy policy --header-only${statement.header === undefined ? '' : ` ${expected}`}`;
  return [
    `muniment get ${index} --payload -o ${name}.payload`,
    `muniment verify ${name}.receipt.json --policy policy --payload ${name}.payload ${expected}`,
  ].join('\n');
}

/** What the page trusts, and how to change it. */
function TrustText() {
  const record = useTrustRecord();
  const chosen = record?.policies ?? [];
  return (
    <details className={styles.trust}>
      <summary>What this page trusts</summary>
      <p>
        {chosen.length > 0
          ? `The trust policies that were chosen in this browser: ${chosen.map(({ name }) => name).join(', ')}.`
          : 'The key of the log that this browser saw first. A server that presents another key later is not believed.'}{' '}
        The page itself comes from the server. It detects changed data, and it cannot detect a server that changes the
        page. Use the command above where that matters, with a policy file from another source.
      </p>
      <div className={styles.buttons}>
        <PolicyInput />
        {chosen.length > 0 && (
          <Button
            onPress={() => {
              trustStore.choose([]);
            }}
          >
            Use the pinned key again
          </Button>
        )}
      </div>
    </details>
  );
}

function proofOf(receipt: Uint8Array): Uint8Array | undefined {
  try {
    return new TextEncoder().encode(parseReceipt(receipt).proof);
  } catch {
    return undefined; // the verdict has the reason
  }
}
