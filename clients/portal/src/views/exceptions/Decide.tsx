import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { useState } from 'react';
import * as v from 'valibot';
import { ExceptionDecisionSchema } from '../../gen/muniment/v1/kinds_pb';
import type { ExceptionRecord } from '../../gen/muniment/v1/portal_pb';
import { EntryLink, newKey, record, refusalOf, Text, useDraft, type Refusal } from '../../records';
import { fromLocalInput, toLocalInput } from '../../records/localTime';
import { usePerson } from '../../session/session';
import { Button, Dialog, Notice, zoneAt, type ButtonKind } from '../../ui';
import { TextInput } from '../../ui/Field';
import styles from './exceptions.module.css';

interface Act {
  button: string;
  title: string;
  text: string;
  kind: ButtonKind;
  done: string;
}

const acts = {
  approve: {
    button: 'Approve',
    title: 'Approve the exception',
    text: 'Your approval is recorded under your name. With enough approvals, gates count the exception at once.',
    kind: 'primary',
    done: 'Approved',
  },
  renew: {
    button: 'Renew',
    title: 'Renew the exception',
    text: 'It ends at the new time once as many people have renewed it to this time as the control requires.',
    kind: 'secondary',
    done: 'Renewed',
  },
  reject: {
    button: 'Reject',
    title: 'Reject the exception',
    text: 'A rejected exception stays rejected. Another one would have to be requested.',
    kind: 'danger',
    done: 'Rejected',
  },
  revoke: {
    button: 'Revoke',
    title: 'Revoke the exception',
    text: 'It ends for good with the next decision of a gate. What it lets pass now is listed on the page.',
    kind: 'danger',
    done: 'Revoked',
  },
} as const satisfies Record<string, Act>;

type Action = keyof typeof acts;
const order = Object.keys(acts) as Action[];
const isAction = (text: string): text is Action => Object.hasOwn(acts, text);

const Draft = v.object({
  action: v.nullable(v.picklist(order)),
  reason: v.string(),
  until: v.string(),
  key: v.string(),
});

const emptyDraft = (x: ExceptionRecord) => ({
  action: null,
  reason: '',
  until: toLocalInput(new Date(Number(x.expires?.seconds ?? 0n) * 1000 + 7 * 86_400_000)),
  key: newKey(),
});

/** The buttons for what the person can do, and why not for what is refused. */
export function Decide({ x }: { x: ExceptionRecord }) {
  const { tenant } = usePerson();
  const [draft, change, forget] = useDraft<v.InferOutput<typeof Draft>>(`exception ${String(x.index)}`, Draft, () =>
    emptyDraft(x),
  );
  const [refusal, setRefusal] = useState<Refusal>();
  const [recorded, setRecorded] = useState<{ action: Action; index: bigint }>();
  const [isSending, setSending] = useState(false);
  const { action, reason, until, key } = draft;
  const act: Act | undefined = action === null ? undefined : acts[action];
  const allowed = order.filter((name) => x.actions.some((a) => a.action === name && a.refusal === ''));
  const refused = x.actions.filter((a) => isAction(a.action) && a.refusal !== '');

  const send = async () => {
    if (action === null || isSending) return;
    const end = action === 'renew' ? fromLocalInput(until) : undefined;
    if (action === 'renew' && end === undefined) {
      setRefusal({ field: 'expires', text: 'Enter a day and a time.' });
      return;
    }
    if (action !== 'approve' && reason.trim() === '') {
      setRefusal({ field: 'reason', text: 'Enter a reason. It is recorded.' });
      return;
    }
    setSending(true);
    setRefusal(undefined);
    try {
      const event = create(ExceptionDecisionSchema, {
        exception: x.id,
        request: x.index,
        decision: action,
        reason: reason.trim(),
        ...(end && { expires: timestampFromDate(end) }),
      });
      const index = await record(tenant, 'exception-decision', ExceptionDecisionSchema, event, key);
      forget();
      change({ ...emptyDraft(x) });
      setRecorded({ action, index });
    } catch (error) {
      setRefusal(refusalOf(error));
    } finally {
      setSending(false);
    }
  };

  return (
    <>
      {recorded && (
        <div role="status">
          <Notice tone="good" title={`${acts[recorded.action].done}, recorded in the log`}>
            <EntryLink index={recorded.index} /> has your decision, with its receipt.
          </Notice>
        </div>
      )}
      {allowed.length > 0 && (
        <div className={styles.buttons}>
          {allowed.map((name) => (
            <Button
              key={name}
              kind={acts[name].kind}
              onPress={() => {
                setRefusal(undefined);
                change({ action: name });
              }}
            >
              {acts[name].button}
            </Button>
          ))}
        </div>
      )}
      {refused.length > 0 && (
        <ul className={styles.refusals} aria-label="What you cannot do">
          {refused.map((a) => (
            <li key={a.action}>
              {isAction(a.action) && `You cannot ${a.action} it: `}
              <Text>{a.refusal}</Text>
            </li>
          ))}
        </ul>
      )}
      <Dialog
        title={act?.title ?? ''}
        isOpen={act !== undefined}
        onClose={() => {
          change({ action: null });
        }}
        actions={
          <>
            <Button
              onPress={() => {
                change({ action: null });
              }}
            >
              Cancel
            </Button>
            <Button
              kind={act?.kind === 'danger' ? 'danger' : 'primary'}
              isDisabled={isSending}
              onPress={() => void send()}
            >
              {isSending ? 'Recording…' : `${act?.button ?? ''} ${x.id}`}
            </Button>
          </>
        }
      >
        <div className={styles.form}>
          <p>{act?.text}</p>
          {action === 'renew' && (
            <TextInput
              label="New end"
              type="datetime-local"
              value={until}
              onChange={(value) => {
                change({ until: value });
              }}
              isRequired
              hint={`In ${zoneAt(fromLocalInput(until) ?? new Date())}`}
              error={refusal?.field === 'expires' ? refusal.text : undefined}
            />
          )}
          <TextInput
            label="Reason"
            value={reason}
            onChange={(value) => {
              change({ reason: value });
            }}
            lines={3}
            maxLength={8000}
            isRequired={action !== 'approve'}
            error={refusal?.field === 'reason' ? refusal.text : undefined}
          />
          {refusal && refusal.field !== 'reason' && refusal.field !== 'expires' && (
            <Notice tone="bad" title="The log has not recorded it">
              <Text>{refusal.text}</Text>
            </Notice>
          )}
        </div>
      </Dialog>
    </>
  );
}
