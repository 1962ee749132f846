import type { IncidentRecord } from '../../gen/muniment/v1/portal_pb';
import { EntryLink, Text } from '../../records';
import { classes, Empty, Panel, Status, Time } from '../../ui';
import type { Verification } from '../backfills/verified';
import { coursesOf, reasonIn, secondsBetween, type Course, type Phase } from './flow';
import { seconds, StepState } from './parts';
import styles from './incidents.module.css';

/** The picture of an incident: its signals, and what was done about them, step by step. */
export function Flow({
  incident,
  results,
}: {
  incident: IncidentRecord;
  results: readonly Verification[] | undefined;
}) {
  const courses = coursesOf(incident);
  return (
    <Panel title="Course" note="From the signals to the undo of each step. Times are those of the executor">
      <div className={styles.flow}>
        <Signals of={incident} />
        {courses.length === 0 ? (
          <Empty title="No step has been taken" />
        ) : (
          <ol className={styles.courses} aria-label="Steps">
            {courses.map((course) => (
              <CourseOf
                key={`${course.step.number} ${String(course.step.outcome)}`}
                course={course}
                incident={incident}
                results={results}
              />
            ))}
          </ol>
        )}
      </div>
    </Panel>
  );
}

function Signals({ of: { alerts, traces, opened, detected } }: { of: IncidentRecord }) {
  return (
    <section className={styles.signals} aria-label="Signals">
      <h3 className={styles.name}>Signals</h3>
      <p>
        <Time at={detected ?? opened} />
      </p>
      {alerts.length === 0 ? (
        <p className={styles.muted}>No alert is recorded</p>
      ) : (
        <ul className={styles.alerts}>
          {alerts.map((alert) => (
            <li key={alert}>
              <Text>{alert}</Text>
            </li>
          ))}
        </ul>
      )}
      {traces.length > 0 && (
        <p className={styles.muted}>{traces.length === 1 ? '1 trace' : `${traces.length} traces`}</p>
      )}
    </section>
  );
}

function CourseOf({
  course: { step, phases, attempts },
  incident,
  results,
}: {
  course: Course;
  incident: IncidentRecord;
  results: readonly Verification[] | undefined;
}) {
  const reason = reasonIn(step.detail);
  return (
    <li className={styles.course}>
      <h3 className={styles.heading}>
        <span>
          {step.number > 0 && `${step.number}. `}
          <Text>{step.action}</Text>
        </span>
        {step.target !== '' && (
          <code>
            <Text>{step.target}</Text>
          </code>
        )}
        <StepState of={step} />
      </h3>
      <ol className={styles.phases}>
        {phases.map((phase) => (
          <PhaseOf key={phase.name} phase={phase} incident={incident} results={results} />
        ))}
      </ol>
      {reason !== '' && (
        <p className={styles.detail}>
          <Text>{reason}</Text>
        </p>
      )}
      {attempts > 1 && <p className={styles.muted}>{attempts} attempts to undo it</p>}
    </li>
  );
}

function PhaseOf({
  phase: { name, tone, text, index, at },
  incident: { opened, detected },
  results,
}: {
  phase: Phase;
  incident: IncidentRecord;
  results: readonly Verification[] | undefined;
}) {
  const after = secondsBetween(detected ?? opened, at);
  const result = results?.find((one) => one.index === index);
  return (
    <li className={classes(styles.phase, styles[tone])}>
      <span className={styles.name}>
        {name}
        {after !== undefined && <span className={styles.after}> +{seconds(after)}</span>}
      </span>
      <span>{text}</span>
      {index !== undefined && (
        <span className={styles.inline}>
          <EntryLink index={index} />
          {result !== undefined && (
            <Status tone={result.problem === undefined ? 'good' : 'bad'}>
              {result.problem === undefined ? 'Verified' : 'Not verified'}
            </Status>
          )}
        </span>
      )}
    </li>
  );
}
