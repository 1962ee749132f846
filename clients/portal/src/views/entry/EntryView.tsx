import { useCallback, useMemo, useState } from 'react';
import { Columns, Evidence, Failed, formatNumber, Loading, Page, Panel, Status } from '../../ui';
import { Claimed, ClaimedByServer } from './Claimed';
import { useErasure, type Subject } from './data';
import { Erased } from './Erased';
import { MerklePath } from './merkle/MerklePath';
import { pathOf } from './merkle/path';
import { PayloadPanel } from './payload/PayloadPanel';
import { Proven } from './Proven';
import { TakeAway } from './TakeAway';
import { Verdict } from './Verdict';
import styles from './entry.module.css';

interface Props {
  title: string;
  tenant: string;
  index: bigint;
  subject: Subject;
}

/** An entry: the verdict on its receipt first, then what is proven, what is claimed, and the evidence itself. */
export function EntryView({ title, tenant, index, subject }: Props) {
  const { entry, receipt, checked } = subject;
  const [isPayloadGenuine, setPayloadGenuine] = useState<boolean>();
  const onChecked = useCallback((isGenuine: boolean) => {
    setPayloadGenuine(isGenuine);
  }, []);
  const statement = checked?.verdict === 'verified' ? checked.statement : undefined;
  const path = useMemo(
    () => (checked?.verdict === 'verified' ? pathOf(checked.proof, bytesOf(checked.statement.leafHash)) : undefined),
    [checked],
  );
  const isErased = statement?.erased !== undefined;
  const erasure = useErasure(tenant, index, isErased);
  const header = statement?.header;
  return (
    <Page
      title={title}
      lead={header === undefined ? undefined : <Lead kind={header.kind} subject={header.subjects?.[0]?.name} />}
      actions={header !== undefined && <SignatureStatus result={header.verification.result} />}
    >
      <Verdict subject={subject} isPayloadGenuine={isPayloadGenuine} />
      {isErased && <Erased parts={statement.erased ?? []} erasure={erasure} />}
      {receipt.data === undefined && !receipt.error && <Loading label="Fetching the receipt" />}
      {receipt.data === undefined && Boolean(receipt.error) && (
        <Failed error={receipt.error} onRetry={() => void receipt.refetch()} />
      )}
      {statement === undefined ? (
        entry.data !== undefined && <ClaimedByServer entry={entry.data} />
      ) : (
        <>
          <Columns>
            <Proven statement={statement} isPayloadGenuine={isPayloadGenuine} />
            <Claimed statement={statement} />
          </Columns>
          {checked?.verdict === 'verified' && checked.payloadSalt !== undefined && header !== undefined && (
            <PayloadPanel
              tenant={tenant}
              index={index}
              salt={checked.payloadSalt}
              payload={header.payload}
              about={{
                kind: header.kind,
                mediaType: header.mediaType,
                ...(header.predicateType !== undefined && { predicateType: header.predicateType }),
                ...(header.external !== undefined && { isReference: true }),
              }}
              onChecked={onChecked}
            />
          )}
        </>
      )}
      {path !== undefined && statement !== undefined && (
        <Panel title="Merkle path" note={`from this entry to the root of ${formatNumber(statement.size)} entries`}>
          <MerklePath path={path} size={statement.size} />
        </Panel>
      )}
      {receipt.data !== undefined && (
        <TakeAway receipt={receipt.data} tenant={tenant} index={index} subject={subject} />
      )}
    </Page>
  );
}

function Lead({ kind, subject }: { kind: string; subject: string | undefined }) {
  return (
    <>
      <span className={styles.kind}>{kind}</span>
      {subject !== undefined && (
        <>
          {' about '}
          <Evidence text={subject} most={160} />
        </>
      )}
    </>
  );
}

const signatures = {
  verified: ['good', 'Signature verified by the log'],
  unverified: ['neutral', 'Not signed, or not verifiable'],
  failed: ['bad', 'A signature is invalid'],
} as const;

function SignatureStatus({ result }: { result: keyof typeof signatures }) {
  const [tone, text] = signatures[result];
  return <Status tone={tone}>{text}</Status>;
}

/** Returns the bytes of hexadecimal digits. */
const bytesOf = (digits: string): Uint8Array =>
  Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
