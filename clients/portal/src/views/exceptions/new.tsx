import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import { GateService } from '../../gen/muniment/v1/gate_pb';
import { ExceptionRequestSchema, type Control } from '../../gen/muniment/v1/kinds_pb';
import { PortalService } from '../../gen/muniment/v1/portal_pb';
import { ControlLink, count, record, refusalOf, Text, useDraft, visible, type Refusal } from '../../records';
import { fromLocalInput } from '../../records/localTime';
import { useSettled } from '../../records/settled';
import { usePerson } from '../../session/session';
import { Answer, Button, Empty, Notice, Page, Panel, TIME_ZONE, useNow, zoneAt } from '../../ui';
import { Choice, TextInput } from '../../ui/Field';
import { Preview } from './Preview';
import { approversOf, Draft, fieldOf, longest, newDraft, problemsOf, requestOf, type Field } from './request';
import styles from './exceptions.module.css';

const route = getRouteApi('/members/exceptions/new');

/** The request for an exception, with what it would change. */
export function View() {
  const { tenant } = usePerson();
  const set = useQuery(GateService.method.getControlSet, { tenant });
  return (
    <Page
      title="Request an exception"
      lead="It has no effect until another person approves it. The requester cannot approve it."
    >
      <Answer query={set} label="Loading the controls">
        {({ controls }) =>
          controls.length === 0 ? (
            <Empty title="The control set has no controls">There is nothing to be excepted from.</Empty>
          ) : (
            <Form controls={controls} />
          )
        }
      </Answer>
    </Page>
  );
}

function Form({ controls }: { controls: readonly Control[] }) {
  const fill = route.useSearch();
  const navigate = route.useNavigate();
  const { tenant, role } = usePerson();
  // A request that an address has begun is another draft than the last one.
  const name = `exception request ${JSON.stringify(fill)}`;
  const [draft, change, forget] = useDraft(name, Draft, () => newDraft(fill, new Date()));
  const [touched, setTouched] = useState<ReadonlySet<Field>>(new Set());
  const [refusal, setRefusal] = useState<Refusal>();
  const [isSending, setSending] = useState(false);
  const now = useNow();
  const problems = problemsOf(draft, new Date(now));
  const control = controls.find(({ id }) => id === draft.control);
  const refusedField = refusal && fieldOf(refusal.field);

  const field = (id: Field) => ({
    value: draft[id],
    onChange: (value: string) => {
      change({ [id]: value });
      if (refusedField === id) setRefusal(undefined);
    },
    onBlur: () => {
      setTouched((before) => new Set([...before, id]));
    },
    error: refusedField === id ? refusal?.text : touched.has(id) ? problems[id] : undefined,
  });

  const send = async () => {
    if (Object.keys(problems).length > 0) {
      setTouched(new Set(Object.keys(problems) as Field[]));
      return;
    }
    if (isSending) return;
    setSending(true);
    setRefusal(undefined);
    try {
      const index = await record(tenant, 'exception-request', ExceptionRequestSchema, requestOf(draft), draft.key);
      forget();
      await navigate({
        to: '/exceptions/$index',
        params: { index: String(index) },
      });
    } catch (error) {
      setRefusal(refusalOf(error));
      setSending(false);
    }
  };

  return (
    <>
      {role === 'reader' || role === 'auditor' ? (
        <Notice tone="warn" title={`The role ${role} cannot request exceptions`}>
          It takes the role appender, approver or admin. You can fill in the form and see what would change.
        </Notice>
      ) : null}
      <Panel title="The request">
        <form
          className={styles.form}
          noValidate
          onSubmit={(event) => {
            event.preventDefault();
            void send();
          }}
        >
          <Choice
            label="Control that shall not apply"
            options={controls.map(({ id, title }) => ({
              value: id,
              label: `${visible(id)} – ${visible(title)}`,
            }))}
            value={draft.control === '' ? undefined : draft.control}
            onChange={(value) => {
              change({ control: value });
            }}
          />
          {touched.has('control') && problems.control !== undefined && <Notice tone="bad" title={problems.control} />}
          {control && <Limits control={control} />}
          <div className={styles.pair}>
            <TextInput
              label="Artifacts, one digest on each line"
              lines={3}
              mono
              hint="sha256:2cf24dba…"
              {...field('artifacts')}
            />
            <TextInput
              label="Patterns of names, one on each line"
              lines={3}
              mono
              hint="* matches any characters except /, and ** any characters"
              {...field('names')}
            />
          </div>
          <div className={styles.pair}>
            <TextInput
              label="Environments, one on each line"
              lines={2}
              mono
              hint="None: all environments"
              {...field('environments')}
            />
            <TextInput
              label="Findings, one on each line"
              lines={2}
              mono
              hint="Such as CVE-2026-12345. None: every reason for which the control is not satisfied"
              {...field('findings')}
            />
          </div>
          <div className={styles.pair}>
            <TextInput label="Ends" type="datetime-local" isRequired hint={zoneHint(draft.until)} {...field('until')} />
            <TextInput
              label="ID"
              isRequired
              mono
              maxLength={128}
              hint="People refer to the exception by it"
              {...field('id')}
            />
          </div>
          <TextInput
            label="Reason"
            isRequired
            lines={3}
            maxLength={8000}
            hint="It is recorded, and the approver reads it"
            {...field('reason')}
          />
          {refusal && refusedField === undefined && (
            <Notice tone="bad" title="The log has not recorded it">
              <Text>{refusal.text}</Text>
            </Notice>
          )}
          <div className={styles.buttons}>
            <Button type="submit" kind="primary" isDisabled={isSending}>
              {isSending ? 'Recording…' : 'Request the exception'}
            </Button>
            <Button
              kind="quiet"
              onPress={() => {
                forget();
                change(newDraft({}, new Date()));
                setTouched(new Set());
                setRefusal(undefined);
              }}
            >
              Clear the form
            </Button>
          </div>
        </form>
      </Panel>
      <Effect draft={draft} valid={Object.keys(problems).every((name) => name === 'reason' || name === 'id')} />
    </>
  );
}

function zoneHint(until: string): string {
  const end = fromLocalInput(until);
  return end === undefined ? `In ${TIME_ZONE}` : `In ${zoneAt(end)}: ${end.toISOString().slice(0, 16)}Z`;
}

function Limits({ control }: { control: Control }) {
  const days = longest(control);
  if (days === 0)
    return (
      <Notice tone="warn" title={`${visible(control.id)} allows no exceptions`}>
        A request would have no effect.
      </Notice>
    );
  return (
    <p className={styles.muted}>
      <ControlLink id={control.id} /> allows exceptions of at most {count(days, 'day')}, with{' '}
      {count(approversOf(control), 'approval')} by other people.
    </p>
  );
}

/** What would change, once the draft says what it covers. */
function Effect({ draft, valid }: { draft: Draft; valid: boolean }) {
  const { tenant } = usePerson();
  const asked = useSettled(draft);
  const request = requestOf({ ...asked, reason: 'preview', id: 'preview' });
  const query = useQuery(
    PortalService.method.previewException,
    { tenant, exception: { case: 'draft', value: request } },
    { enabled: valid, placeholderData: keepPreviousData },
  );
  return (
    <Panel title="What starts passing when it is approved" flush>
      {valid ? (
        <Answer query={query} label="Deciding again">
          {(preview) => <Preview preview={preview} />}
        </Answer>
      ) : (
        <Empty title="Choose a control, what it covers and an end">
          Then the recorded decisions in scope are made again, as if the exception were approved. Nothing is recorded.{' '}
          <Link to="/exceptions">Show all exceptions</Link>
        </Empty>
      )}
    </Panel>
  );
}
