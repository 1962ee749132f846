import { WARNINGS, type Statement } from '@muniment/verify';
import { useState } from 'react';
import { Ago, Button, Evidence, Notice, Status, Time, type Tone, useNow } from '../../ui';
import type { Trust } from '../../trust/record';
import { trustStore } from '../../trust/store';
import { PolicyInput } from '../../trust/PolicyInput';
import type { Subject } from './data';
import styles from './entry.module.css';

/** The result of the checks that this browser has made. */
export function Verdict({ subject, isPayloadGenuine }: { subject: Subject; isPayloadGenuine: boolean | undefined }) {
  const { trust, checked, differing } = subject;
  return (
    <section className={styles.verdict} aria-label="Verification">
      {trust.state === 'changed' && <KeyChanged trust={trust} />}
      {trust.state === 'none' && <NoKey trust={trust} />}
      {checked?.verdict === 'refused' && (
        <Notice tone="bad" title="The receipt of this entry does not verify">
          <p>
            <Evidence text={checked.message} /> <code>({checked.code})</code>
          </p>
          <p>
            {checked.step === 0 ? 'The check is made before' : `The check is step ${checked.step} of`} the steps of the
            specification. Nothing below is proven. Keep the receipt, and ask the operator of the log.
          </p>
        </Notice>
      )}
      {checked?.verdict === 'verified' && differing.length > 0 && (
        <Notice tone="bad" title="The server describes this entry in two ways">
          Its description and the verified receipt differ in: {differing.join(', ')}. The receipt is shown below, and
          the description is not.
        </Notice>
      )}
      {checked?.verdict === 'verified' && (
        <>
          <ul className={styles.checks}>
            <Check tone="good" name="Receipt">
              verified in this browser
            </Check>
            <Check tone={trust.state === 'changed' ? 'bad' : 'good'} name="Key">
              <KeyText trust={trust} />
            </Check>
            <PayloadCheck statement={checked.statement} isGenuine={isPayloadGenuine} />
            <Check tone={checked.statement.witnessed ? 'good' : 'neutral'} name="Witnesses">
              {checked.statement.witnessed ? 'cosigned, as the policy requires' : 'not required by the policy'}
            </Check>
          </ul>
          <Clock time={checked.statement.time} />
          <Warnings statement={checked.statement} />
        </>
      )}
    </section>
  );
}

function Check({ tone, name, children }: { tone: Tone; name: string; children: React.ReactNode }) {
  return (
    <li>
      <Status tone={tone}>{name}</Status> <span>{children}</span>
    </li>
  );
}

function KeyText({ trust }: { trust: Trust }) {
  switch (trust.state) {
    case 'chosen':
      return <>of the trust policy that was chosen in this browser</>;
    case 'changed':
      return (
        <>
          pinned <Ago at={trust.since} />. The server presents another one
        </>
      );
    case 'pinned':
      return (
        <>
          the one that this browser saw first, <Ago at={trust.since} />
        </>
      );
    default:
      return <>seen for the first time, and pinned in this browser now</>;
  }
}

function PayloadCheck({ statement, isGenuine }: { statement: Statement; isGenuine: boolean | undefined }) {
  if (statement.erased !== undefined)
    return (
      <Check tone="neutral" name="Payload">
        erased
      </Check>
    );
  if (isGenuine === undefined)
    return (
      <Check tone="pending" name="Payload">
        not compared with the header yet
      </Check>
    );
  return isGenuine ? (
    <Check tone="good" name="Payload">
      hashed in this browser: the header commits to it
    </Check>
  ) : (
    <Check tone="bad" name="Payload">
      not the one that the header commits to
    </Check>
  );
}

/** Milliseconds by which clocks may differ. */
const tolerance = 5 * 60_000;

/** A time of the log that is in the future here: one of the clocks is wrong. */
function Clock({ time }: { time: number }) {
  const now = useNow();
  if (time - now <= tolerance) return null;
  return (
    <Notice tone="warn" title="The clock of the log or of this device is wrong">
      The log claims that it recorded this entry at <Time at={time} relative />. The proof does not depend on clocks.
    </Notice>
  );
}

/** Those with a place of their own on the page. */
const shownElsewhere = new Set(['content-not-checked', 'erased', 'not-witnessed']);

function Warnings({ statement }: { statement: Statement }) {
  const codes = [
    statement.header?.verification.result === 'unverified' && 'signature-unverified',
    statement.header?.verification.result === 'failed' && 'signature-failed',
    statement.header?.admission?.result === 'recorded' && 'not-admitted',
  ].filter((code) => code !== false);
  return codes
    .filter((code) => !shownElsewhere.has(code))
    .map((code) => (
      <Notice key={code} tone={code === 'signature-failed' ? 'bad' : 'warn'} title={WARNINGS.get(code) ?? code}>
        {code === 'signature-unverified' && statement.header?.verification.reason !== undefined && (
          <Evidence text={statement.header.verification.reason} />
        )}
        {code === 'not-admitted' && statement.header?.admission?.reason !== undefined && (
          <Evidence text={statement.header.admission.reason} />
        )}
      </Notice>
    ));
}

function KeyChanged({ trust }: { trust: Trust }) {
  const [isAsked, setAsked] = useState(false);
  return (
    <Notice tone="bad" title="The server presents another log key than before">
      <dl className={styles.keys}>
        <dt>
          pinned <Ago at={trust.since} />
        </dt>
        <dd>
          <code>{trust.trusted}</code>
        </dd>
        <dt>now</dt>
        <dd>
          <code>{trust.presented}</code>
        </dd>
      </dl>
      <p>
        Either the operator has rotated the key, or this is not the log that this browser knows. Ask the operator over
        another channel, and compare the keys. Until then only the pinned key is believed.
      </p>
      <div className={styles.buttons}>
        {isAsked ? (
          <>
            <Button
              kind="danger"
              onPress={() => {
                trustStore.forget();
              }}
            >
              Forget the pinned key and trust the new one
            </Button>
            <Button
              onPress={() => {
                setAsked(false);
              }}
            >
              Keep the pinned key
            </Button>
          </>
        ) : (
          <Button
            onPress={() => {
              setAsked(true);
            }}
          >
            I have compared the keys…
          </Button>
        )}
        <PolicyInput />
      </div>
    </Notice>
  );
}

function NoKey({ trust }: { trust: Trust }) {
  return (
    <Notice tone="warn" title="Nothing can be verified without a key">
      <p>
        {trust.problem === undefined ? (
          'The server presents no key of its log, and this browser has none.'
        ) : (
          <>
            What this browser trusts cannot be used: <Evidence text={trust.problem} />.
          </>
        )}{' '}
        Choose the log’s trust policy file, which its operator publishes.
      </p>
      <div className={styles.buttons}>
        <PolicyInput />
        {trust.problem !== undefined && (
          <Button
            onPress={() => {
              trustStore.choose([]);
            }}
          >
            Forget what is stored
          </Button>
        )}
      </div>
    </Notice>
  );
}
