import { useState } from 'react';
import * as v from 'valibot';
import { TriageActionSchema } from '../../gen/muniment/v1/kinds_pb';
import type { IncidentNote, IncidentRecord } from '../../gen/muniment/v1/portal_pb';
import { EntryLink, newKey, record, refusalOf, Text, useDraft, type Refusal } from '../../records';
import { usePerson } from '../../session/session';
import { Button, Dialog, Fact, Facts, Notice, Time, type ButtonKind } from '../../ui';
import { TextInput } from '../../ui/Field';
import { Proof } from '../backfills/Proof';
import { usePayload, type Proven } from '../backfills/verified';
import { ACTIONS, isAction, isAnswer, noticeOf, requestOf, type Action, type Notice as Asked } from './request';
import styles from './incidents.module.css';

interface Act {
  button: string;
  title: string;
  text: string;
  kind: ButtonKind;
  done: string;
}

const acts: Readonly<Record<Action, Act>> = {
  approve: {
    button: 'Approve',
    title: 'Approve the step',
    text: 'Your approval is recorded under your name. The executor takes the step as soon as it has read the entry.',
    kind: 'primary',
    done: 'Approved',
  },
  reject: {
    button: 'Reject',
    title: 'Reject the step',
    text: 'The step is not taken, and the incident is escalated: people have to act.',
    kind: 'danger',
    done: 'Rejected',
  },
  undo: {
    button: 'Undo the steps',
    title: 'Undo the steps',
    text: 'The executor undoes the steps, the latest first. A target that somebody else has changed since is kept.',
    kind: 'secondary',
    done: 'Undo requested',
  },
  misfire: {
    button: 'Mark as misfire',
    title: 'Mark the incident as a misfire',
    text: 'Its steps are undone, and its type is quarantined: the playbook does not run until a person releases it.',
    kind: 'danger',
    done: 'Marked as a misfire',
  },
  release: {
    button: 'Release the type',
    title: 'End the quarantine of the type',
    text: 'The playbook runs again for the next incident of this type.',
    kind: 'secondary',
    done: 'Released',
  },
  kill: {
    button: 'Kill switch on',
    title: 'Switch all playbooks off',
    text: 'No step but undo runs against any incident, and the effects that exist are undone, until a person switches the playbooks on again.',
    kind: 'danger',
    done: 'Kill switch on',
  },
  unkill: {
    button: 'Kill switch off',
    title: 'Switch the playbooks on again',
    text: 'Steps run again against new incidents. A file named kill in the folder of the executor’s state has to be removed as well.',
    kind: 'secondary',
    done: 'Kill switch off',
  },
};

const Draft = v.object({ action: v.nullable(v.picklist(ACTIONS)), reason: v.string(), key: v.string() });

const emptyDraft = (): v.InferOutput<typeof Draft> => ({ action: null, reason: '', key: newKey() });

/** The buttons for what the person can request of the executor, and why not for what is refused. */
export function Requests({ incident }: { incident: IncidentRecord }) {
  const { tenant, identity } = usePerson();
  const [draft, change, forget] = useDraft(`incident ${incident.id}`, Draft, emptyDraft);
  const [refusal, setRefusal] = useState<Refusal>();
  const [recorded, setRecorded] = useState<{ action: Action; index: bigint }>();
  const [isSending, setSending] = useState(false);
  const { waiting } = incident;
  const proven = usePayload(tenant, waiting?.index);
  const asked = proven.payload && noticeOf(proven.payload, incident.id);
  const { action, reason, key } = draft;
  const act = action === null ? undefined : acts[action];
  const allowed = ACTIONS.filter((name) => incident.actions.some((a) => a.action === name && a.refusal === ''));
  const refusals = [...new Set(incident.actions.filter((a) => isAction(a.action)).map((a) => a.refusal))].filter(
    Boolean,
  );
  const answer =
    proven.leafHash !== undefined && asked ? { leafHash: proven.leafHash, place: asked.parameters.place } : undefined;
  const isReady = action !== null && (!isAnswer(action) || answer !== undefined);

  const close = () => {
    change({ action: null });
  };
  const send = async () => {
    if (action === null || isSending || !isReady) return;
    if (action !== 'approve' && reason.trim() === '') {
      setRefusal({ field: 'detail', text: 'Enter a reason. It is recorded.' });
      return;
    }
    setSending(true);
    setRefusal(undefined);
    try {
      const event = requestOf(incident, action, identity, reason, new Date(), answer);
      const index = await record(tenant, 'triage-action', TriageActionSchema, event, key);
      forget();
      change(emptyDraft());
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
            <EntryLink index={recorded.index} /> has your request, with its receipt. The executor follows it if its
            configuration lists you among the approvers.
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
      {refusals.length > 0 && (
        <ul className={styles.refusals} aria-label="What you cannot request">
          {refusals.map((text) => (
            <li key={text}>
              You cannot {incident.actions.flatMap((a) => (a.refusal === text ? [a.action] : [])).join(', ')}:{' '}
              <Text>{text}</Text>
            </li>
          ))}
        </ul>
      )}
      <Dialog
        title={act?.title ?? ''}
        isOpen={act !== undefined}
        onClose={close}
        actions={
          <>
            <Button onPress={close}>Cancel</Button>
            <Button
              kind={act?.kind === 'danger' ? 'danger' : 'primary'}
              isDisabled={isSending || !isReady}
              onPress={() => void send()}
            >
              {isSending ? 'Recording…' : (act?.button ?? '')}
            </Button>
          </>
        }
      >
        <div className={styles.form}>
          <p>{act?.text}</p>
          {action !== null && isAnswer(action) && <What asked={asked} proven={proven} waiting={waiting} />}
          <TextInput
            label="Reason"
            value={reason}
            onChange={(value) => {
              change({ reason: value });
            }}
            lines={3}
            maxLength={8000}
            isRequired={action !== 'approve'}
            error={refusal?.field === 'detail' ? refusal.text : undefined}
          />
          {refusal && refusal.field !== 'detail' && (
            <Notice tone="bad" title="The log has not recorded it">
              <Text>{refusal.text}</Text>
            </Notice>
          )}
        </div>
      </Dialog>
    </>
  );
}

/** What a person approves or rejects: the notice, as its verified receipt has it. */
function What({
  asked,
  proven,
  waiting,
}: {
  asked: Asked | undefined;
  proven: Proven;
  waiting: IncidentNote | undefined;
}) {
  return (
    <Proof of={proven} label="the step">
      {asked === undefined ? (
        <Notice tone="bad" title="The entry has no step in a known form">
          Answer it with the command line of the conductor.
        </Notice>
      ) : (
        <Facts>
          <Fact name="Step">
            {asked.parameters.place}. <Text>{asked.parameters.action}</Text>
          </Fact>
          {asked.parameters.target !== '' && (
            <Fact name="Target">
              <code>
                <Text>{asked.parameters.target}</Text>
              </code>
            </Fact>
          )}
          {Object.entries(asked.parameters.parameters).map(([name, value]) => (
            <Fact key={name} name={<Text>{name}</Text>}>
              <Text>{String(value)}</Text>
            </Fact>
          ))}
          {waiting?.until && (
            <Fact name="Waits until">
              <Time at={waiting.until} relative />
            </Fact>
          )}
        </Facts>
      )}
    </Proof>
  );
}
