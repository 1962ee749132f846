import { Link } from '@tanstack/react-router';
import type {
  Explanation,
  FoundEvidence,
  RequirementExplanation,
  SubjectDecision,
} from '../../gen/muniment/v1/gate_pb';
import type { Control, ControlResult } from '../../gen/muniment/v1/kinds_pb';
import type { FindingRecord } from '../../gen/muniment/v1/portal_pb';
import {
  ControlLink,
  EntryLink,
  EntryLinks,
  ExceptionLink,
  FindingLink,
  ResultState,
  Severity,
  Text,
} from '../../records';
import { buttonClass, Code, Status, Time } from '../../ui';
import type { Place } from './places';
import { commandsFor, readReason, REASONS, type Target } from './remedy';
import styles from './artifact.module.css';

interface Props {
  decision: SubjectDecision;
  place: Place;
  target: Target;
  /** Of the set that has decided, if it is in force. */
  controls: readonly Control[];
  findings: readonly FindingRecord[];
}

/** Results that stop an artifact come first, then those that would, then the others. */
function rank({ mode, result }: ControlResult): number {
  const fails = result === 'not-satisfied' || result === 'undecided';
  if (fails) return mode === 'enforce' ? 0 : 1;
  return { excepted: 2, satisfied: 3 }[result] ?? 4;
}

/** Each control with its result, and what leads to it. */
export function Why({ decision, place, target, controls, findings }: Props) {
  const results = [...(decision.decision?.results ?? [])].sort((a, b) => rank(a) - rank(b));
  return (
    <ul className={styles.results} aria-label="Controls">
      {results.map((result) => (
        <li key={result.control} className={styles.result}>
          <Result
            result={result}
            explanation={decision.explanations.find(({ control }) => control === result.control)}
            control={controls.find(({ id }) => id === result.control)}
            place={place}
            target={target}
            findings={findings.filter((f) => f.controls.includes(result.control))}
          />
        </li>
      ))}
    </ul>
  );
}

interface ResultProps {
  result: ControlResult;
  explanation: Explanation | undefined;
  control: Control | undefined;
  place: Place;
  target: Target;
  findings: readonly FindingRecord[];
}

function Result({ result, explanation, control, place, target, findings }: ResultProps) {
  const fails = result.result === 'not-satisfied' || result.result === 'undecided';
  const heading = (
    <span className={styles.heading}>
      <ResultState of={result.result} />
      <strong>
        <ControlLink id={result.control} />
      </strong>
      {explanation && <Text>{explanation.title}</Text>}
      {result.mode !== 'enforce' && (
        <Status tone="neutral">{result.mode === 'warn' ? 'warns only' : 'only observed'}</Status>
      )}
      {fails && explanation && explanation.severity !== '' && <Severity of={explanation.severity} />}
    </span>
  );
  const body = (
    <div className={styles.why}>
      {fails && <Reason reason={result.reason} />}
      {explanation?.exceptions.map((x) => (
        <p key={String(x.index)}>
          Exception <ExceptionLink id={x.id} index={x.index} /> until <Time at={x.expires} relative />
          {x.unconfirmed ? ', by break-glass: another person must confirm or reject it' : ''}
        </p>
      ))}
      {explanation?.requirements.map((requirement) => (
        <Needed
          key={requirement.name}
          requirement={requirement}
          commands={
            fails && !requirement.met
              ? (control?.check?.require
                  .filter(({ name }) => name === requirement.name)
                  .flatMap((r) => commandsFor(r, target)) ?? [])
              : []
          }
        />
      ))}
      {explanation === undefined && <Bare result={result} />}
      {fails && explanation && explanation.condition !== '' && (
        <Code label={`condition of ${result.control}`} text={explanation.condition} />
      )}
      {findings.length > 0 && (
        <p className={styles.inline}>
          Findings that are not resolved:
          {findings.slice(0, 8).map((f) => (
            <FindingLink key={String(f.first)} id={f.id} first={f.first} />
          ))}
        </p>
      )}
      {fails && (
        <p className={styles.inline}>
          <Link
            to="/exceptions/new"
            className={buttonClass()}
            search={{
              control: result.control,
              artifact: target.digest,
              ...(place.environment !== '' && {
                environment: place.environment,
              }),
            }}
          >
            Request an exception
          </Link>
          {explanation && explanation.owner !== '' && (
            <span className={styles.muted}>
              The control is owned by <Text>{explanation.owner}</Text>
            </span>
          )}
        </p>
      )}
    </div>
  );
  const isOpen = fails || result.result === 'excepted';
  return (
    <>
      {heading}
      {isOpen ? (
        body
      ) : (
        <details>
          <summary>Evidence</summary>
          {body}
        </details>
      )}
    </>
  );
}

function Reason({ reason }: { reason: string }) {
  const { code, detail } = readReason(reason);
  const meaning = Object.hasOwn(REASONS, code) ? REASONS[code] : undefined;
  return (
    <p>
      <strong>{meaning?.text ?? <Text>{code}</Text>}</strong>
      {detail !== '' && (
        <>
          : <Text>{detail}</Text>
        </>
      )}
      . {meaning?.fix}
    </p>
  );
}

function Needed({ requirement, commands }: { requirement: RequirementExplanation; commands: readonly string[] }) {
  return (
    <div className={styles.needed}>
      <p className={styles.inline}>
        <Status tone={requirement.met ? 'good' : 'bad'}>{requirement.met ? 'met' : 'missing'}</Status>
        <span>
          <Text>{requirement.name}</Text>: needs <Text>{requirement.needs}</Text>
        </span>
      </p>
      {requirement.found.length > 0 && (
        <ul aria-label={`Evidence for ${requirement.name}`}>
          {requirement.found.map((f) => (
            <Found key={String(f.index)} evidence={f} />
          ))}
        </ul>
      )}
      {requirement.ignored.length > 0 && (
        <ul aria-label={`Evidence that does not count for ${requirement.name}`}>
          {requirement.ignored.map((f) => (
            <Found key={String(f.index)} evidence={f} />
          ))}
        </ul>
      )}
      {commands.length > 0 && <Code label={`commands that record ${requirement.name}`} text={commands.join('\n')} />}
    </div>
  );
}

function Found({ evidence: { index, time, kind, predicateType, signers, why } }: { evidence: FoundEvidence }) {
  return (
    <li>
      <EntryLink index={index} />, <Time at={time} relative />:{' '}
      <Text>{predicateType === '' ? kind : predicateType}</Text>
      {signers.length > 0 && (
        <>
          {' by '}
          <Text>{signers.join(' and ')}</Text>
        </>
      )}
      {why !== '' && (
        <span className={styles.ignored}>
          {' '}
          It does not count: <Text>{why}</Text>
        </span>
      )}
    </li>
  );
}

/** A result without an explanation: it is from a control set that was replaced. */
function Bare({ result }: { result: ControlResult }) {
  return (
    <>
      {result.missing.map((line) => (
        <p key={line}>
          Missing: <Text>{line}</Text>
        </p>
      ))}
      {result.entries.length > 0 && (
        <p className={styles.inline}>
          From <EntryLinks indexes={result.entries} />
        </p>
      )}
      {result.exceptions.length > 0 && (
        <p>
          Exceptions: <Text>{result.exceptions.join(', ')}</Text>
        </p>
      )}
    </>
  );
}
