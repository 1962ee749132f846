import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useState } from 'react';
import { GateService, type GetControlSetResponse, type SubjectDecision } from '../../gen/muniment/v1/gate_pb';
import type { GetArtifactResponse } from '../../gen/muniment/v1/portal_pb';
import { DecisionState, Text } from '../../records';
import { fromLocalInput, toLocalInput } from '../../records/localTime';
import { usePerson } from '../../session/session';
import { Answer, Button, Code, dateOf, Empty, Notice, Panel, Time, zoneAt } from '../../ui';
import { Choice, TextInput } from '../../ui/Field';
import { readMoment, type Moment } from './moment';
import { environmentsOf, placeOf, TYPES, type Place } from './places';
import { gateCommand, readReason, REASONS, type Target } from './remedy';
import { Why } from './Why';
import styles from './artifact.module.css';

const route = getRouteApi('/members/artifacts/$digest');

interface Props {
  digest: string;
  artifact: GetArtifactResponse;
  set: GetControlSetResponse | undefined;
}

/** Whether the artifact passes a stage, now or at a moment of the past, and why. */
export function Decision({ digest, artifact, set }: Props) {
  const search = route.useSearch();
  const { tenant } = usePerson();
  const place = placeOf(search, set, artifact);
  const moment = readMoment(search.at);
  const at = digest.indexOf(':');
  const [name = ''] = artifact.subject?.artifact?.name ? [artifact.subject.artifact.name] : artifact.names;
  const target: Target = { type: place.type, digest, name };
  const query = useQuery(
    GateService.method.decide,
    {
      tenant,
      stage: place.stage,
      environment: place.environment,
      subjects: [
        {
          type: place.type,
          artifact: {
            name,
            digest: { [digest.slice(0, at)]: digest.slice(at + 1) },
          },
          parts: artifact.subject?.type === place.type ? artifact.subject.parts : [],
        },
      ],
      dryRun: true,
      explain: true,
      at: moment ?? { case: undefined },
    },
    { enabled: place.stage !== '', placeholderData: keepPreviousData },
  );
  if (place.stage === '')
    return (
      <Panel title="Does it pass?">
        <Empty title="No control set is in force">
          A gate decides by controls. Write some with muniment control init, and put them in force with muniment control
          apply.
        </Empty>
      </Panel>
    );
  return (
    <Panel
      title={moment === undefined ? 'Does it pass?' : 'Did it pass?'}
      note="Decided from the log. Looking records nothing."
    >
      <Question
        place={place}
        environments={environmentsOf(place.stage, set, artifact)}
        stages={set?.set?.stages ?? []}
        moment={moment}
      />
      <Answer query={query} label="Deciding">
        {({ decisions: [decision] }) =>
          decision?.decision === undefined ? (
            <Empty title="The server has answered without a decision" />
          ) : (
            <Decided
              decision={decision}
              place={place}
              moment={moment}
              target={target}
              set={set}
              findings={artifact.findings}
            />
          )
        }
      </Answer>
    </Panel>
  );
}

interface QuestionProps {
  place: Place;
  stages: readonly string[];
  environments: readonly string[];
  moment: Moment | undefined;
}

/** The stage, the environment and the moment. Each choice is another address. */
function Question({ place, stages, environments, moment }: QuestionProps) {
  const navigate = route.useNavigate();
  const { at } = route.useSearch();
  const shown = moment?.case === 'time' ? dateOf(moment.value) : undefined;
  const [time, setTime] = useState<string>();
  const value = time ?? toLocalInput(shown ?? new Date());
  const go = (part: Record<string, string | undefined>) => {
    void navigate({
      search: (before) => ({ ...before, ...part }),
      state: true,
      replace: true,
      resetScroll: false,
    });
  };
  const chosen = fromLocalInput(value);
  return (
    <div className={styles.question}>
      <Choice
        label="Stage"
        options={[...new Set([...stages, place.stage])].map((stage) => ({
          value: stage,
          label: stage,
        }))}
        value={place.stage}
        onChange={(stage) => {
          go({ stage, environment: undefined });
        }}
      />
      <Choice
        label="Environment"
        options={['', ...new Set([...environments, place.environment].filter((name) => name !== ''))].map((name) => ({
          value: name === '' ? ' ' : name,
          label: name === '' ? 'none: the strictest mode' : name,
        }))}
        value={place.environment === '' ? ' ' : place.environment}
        onChange={(name) => {
          go({ stage: place.stage, environment: name.trim() });
        }}
      />
      <Choice
        label="Decided as"
        options={TYPES.map((type) => ({ value: type, label: type }))}
        value={place.type}
        onChange={(type) => {
          go({ type });
        }}
      />
      <form
        className={styles.when}
        onSubmit={(event) => {
          event.preventDefault();
          if (chosen !== undefined) go({ at: chosen.toISOString() });
        }}
      >
        <TextInput
          label="At a time in the past"
          type="datetime-local"
          value={value}
          onChange={setTime}
          hint={`In ${zoneAt(chosen ?? new Date())}`}
        />
        <Button type="submit">Show</Button>
        {at !== undefined && (
          <Button
            kind="quiet"
            onPress={() => {
              setTime(undefined);
              go({ at: undefined });
            }}
          >
            Back to now
          </Button>
        )}
      </form>
    </div>
  );
}

interface DecidedProps {
  decision: SubjectDecision;
  place: Place;
  moment: Moment | undefined;
  target: Target;
  set: GetControlSetResponse | undefined;
  findings: GetArtifactResponse['findings'];
}

function Decided({ decision: one, place, moment, target, set, findings }: DecidedProps) {
  const decision = one.decision;
  if (decision === undefined) return null;
  const isCurrentSet = set !== undefined && decision.controlSet === set.digest;
  const reason = decision.results.length === 0 && decision.reason !== '' ? readReason(decision.reason) : undefined;
  const meaning = reason && (Object.hasOwn(REASONS, reason.code) ? REASONS[reason.code] : undefined);
  return (
    <>
      <div className={styles.verdict} data-decision={decision.decision}>
        <DecisionState of={decision.decision} />
        <p>
          {moment === undefined ? 'Now,' : 'As of'} <Time at={decision.decided} />
          {', from '}
          {(decision.treeSize ?? 0n).toLocaleString()} entries of the log, at stage <strong>{decision.stage}</strong>
          {decision.environment !== '' && (
            <>
              , environment{' '}
              <strong>
                <Text>{decision.environment}</Text>
              </strong>
            </>
          )}
          {decision.decision === 'pass' && decision.validUntil !== undefined && moment === undefined && (
            <>
              . Without new entries it stays so until <Time at={decision.validUntil} />
            </>
          )}
        </p>
      </div>
      {moment !== undefined && (
        <Notice tone="info" title="This is a decision about the past">
          It was made again from the {(decision.treeSize ?? 0n).toLocaleString()} entries that the log had then, with
          the controls of that time.
        </Notice>
      )}
      {reason && (
        <Notice tone="warn" title={meaning?.text ?? reason.code}>
          {meaning?.fix}
        </Notice>
      )}
      {decision.results.length > 0 && (
        <Why
          decision={one}
          place={place}
          target={target}
          controls={isCurrentSet ? set.controls : []}
          findings={findings}
        />
      )}
      {moment === undefined && decision.decision !== 'pass' && (
        <details className={styles.again}>
          <summary>Ask the gate from a terminal</summary>
          <Code label="command that asks the gate" text={gateCommand(target, place.stage, place.environment)} />
        </details>
      )}
      {moment === undefined && one.decision?.results.length === 0 && (
        <p className={styles.muted}>
          <Link to="/controls">Show the controls</Link>
        </p>
      )}
    </>
  );
}
