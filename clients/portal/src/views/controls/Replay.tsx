import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { getRouteApi } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';
import { ProgressBar } from 'react-aria-components/ProgressBar';
import { transport } from '../../api/transport';
import {
  GateService,
  type ReplayedDecision,
  type ReplayResponse,
  type ReplayTotals,
} from '../../gen/muniment/v1/gate_pb';
import type { Control, ControlSet } from '../../gen/muniment/v1/kinds_pb';
import { ArtifactLink, ControlLink, count, DecisionState, EntryLink, Text } from '../../records';
import { usePerson } from '../../session/session';
import { Button, Empty, Failed, formatPercent, Notice, Panel, Table, Time, type Column } from '../../ui';
import { Choice } from '../../ui/Field';
import { candidateOf, MODES, type Mode } from './candidate';
import { atStage } from './words';
import styles from './controls.module.css';

const route = getRouteApi('/members/controls/$id');
const gates = createClient(GateService, transport);

/** Decisions of a replay that the page keeps. All are counted. */
const most = 1000;
const ranges = ['1d', '7d', '14d', '30d', '90d', '365d'] as const;

type Totals = Pick<ReplayTotals, 'unchanged' | 'blocked' | 'undecided' | 'passed' | 'skipped'>;

interface Run {
  state: 'running' | 'done' | 'canceled' | 'failed';
  since: number;
  decisions: readonly ReplayedDecision[];
  totals: Totals;
  /** From 0 to 1. */
  progress: number;
  error?: unknown;
}

const none: Totals = {
  unchanged: 0n,
  blocked: 0n,
  undecided: 0n,
  passed: 0n,
  skipped: 0n,
};
const sum = (a: Totals, b: Totals): Totals => ({
  unchanged: a.unchanged + b.unchanged,
  blocked: a.blocked + b.blocked,
  undecided: a.undecided + b.undecided,
  passed: a.passed + b.passed,
  skipped: a.skipped + b.skipped,
});

interface Props {
  control: Control;
  set: ControlSet;
  controls: readonly Control[];
}

/** What the control would have blocked, from the recorded decisions of a range. */
export function Replay({ control, set, controls }: Props) {
  const { days = '30d' } = route.useSearch();
  const navigate = route.useNavigate();
  const [modes, setModes] = useState<Readonly<Record<string, Mode>>>(() => stricter(control, set));
  const [run, start, cancel] = useReplay(control, set, controls);
  const isRunning = run?.state === 'running';
  return (
    <Panel
      title="What would this have blocked?"
      note="Recorded decisions are made again with the evidence of their time. Nothing is recorded."
    >
      <form
        className={styles.replay}
        onSubmit={(event) => {
          event.preventDefault();
          void start(modes, Number.parseInt(days, 10));
        }}
      >
        <Choice
          label="Decisions of the last"
          options={ranges.map((value) => ({
            value,
            label: count(Number.parseInt(value, 10), 'day'),
          }))}
          value={days}
          onChange={(value) => {
            void navigate({
              search: { days: value },
              replace: true,
              resetScroll: false,
            });
          }}
        />
        {set.stages.map((stage) => (
          <Choice
            key={stage}
            label={`At ${stage}`}
            options={MODES.map((value) => ({
              value,
              label: wordsOf(value, atStage(control, stage)),
            }))}
            value={modes[stage] ?? 'same'}
            onChange={(mode) => {
              setModes({ ...modes, [stage]: mode });
            }}
          />
        ))}
        <div className={styles.buttons}>
          <Button type="submit" kind="primary" isDisabled={isRunning}>
            Replay
          </Button>
          {isRunning && <Button onPress={cancel}>Cancel</Button>}
        </div>
      </form>
      {run && <Outcome run={run} />}
    </Panel>
  );
}

/** Modes that enforce the control where it only warns or observes. */
function stricter(control: Control, set: ControlSet): Record<string, Mode> {
  const stages = set.stages.filter((stage) =>
    control.modes.some((mode) => mode.stage === stage && mode.mode !== 'enforce'),
  );
  return Object.fromEntries(stages.map((stage) => [stage, 'enforce' as const]));
}

function wordsOf(mode: Mode, now: string): string {
  if (mode === 'same') return now === '' ? 'not evaluated, as now' : `${now}, as now`;
  return {
    enforce: 'would block',
    warn: 'would warn',
    off: 'would not be evaluated',
  }[mode];
}

/** Runs replays, one at a time. The end of the view ends them. */
function useReplay(control: Control, set: ControlSet, controls: readonly Control[]) {
  const { tenant } = usePerson();
  const [run, setRun] = useState<Run>();
  const stop = useRef<AbortController>(undefined);
  useEffect(() => () => stop.current?.abort(), []);

  const start = async (modes: Readonly<Record<string, Mode>>, days: number) => {
    stop.current?.abort();
    const abort = new AbortController();
    stop.current = abort;
    const since = Date.now() - days * 86_400_000;
    let now: Run = {
      state: 'running',
      since,
      decisions: [],
      totals: none,
      progress: 0,
    };
    const show = (part: Partial<Run>) => {
      now = { ...now, ...part };
      if (stop.current === abort) setRun(now);
    };
    show({});
    try {
      const candidate = await candidateOf(set, controls, control.id, modes);
      let before = none;
      for (let fromIndex: bigint | undefined = 0n; fromIndex !== undefined;) {
        const answers: AsyncIterable<ReplayResponse> = gates.replay(
          { tenant, ...candidate, since: timestampFromMs(since), fromIndex },
          { signal: abort.signal },
        );
        fromIndex = undefined;
        for await (const answer of answers) {
          const totals = sum(before, answer.totals ?? none);
          show({
            totals,
            decisions:
              now.decisions.length < most ? [...now.decisions, ...answer.decisions].slice(0, most) : now.decisions,
            progress: answer.total === 0n ? 1 : Number(answer.done) / Number(answer.total),
          });
          fromIndex = answer.nextIndex;
        }
        before = now.totals;
      }
      show({ state: 'done', progress: 1 });
    } catch (error) {
      show(abort.signal.aborted ? { state: 'canceled' } : { state: 'failed', error });
    }
  };
  return [run, start, () => stop.current?.abort()] as const;
}

const columns: readonly Column<ReplayedDecision>[] = [
  {
    id: 'artifact',
    header: 'Artifact',
    cell: ({ subjects: [artifact] }) => (artifact === undefined ? 'none' : <ArtifactLink artifact={artifact} />),
  },
  {
    id: 'where',
    header: 'Stage, environment',
    cell: ({ stage, environment }) => <Text>{environment === '' ? stage : `${stage}, ${environment}`}</Text>,
  },
  {
    id: 'was',
    header: 'Was',
    cell: ({ recorded }) => <DecisionState of={recorded} />,
  },
  {
    id: 'would',
    header: 'Would be',
    cell: ({ replayed }) => (replayed === '' ? 'cannot be replayed' : <DecisionState of={replayed} />),
  },
  {
    id: 'why',
    header: 'Because of',
    cell: ({ results, reason }) => (
      <span className={styles.list}>
        {results.slice(0, 3).map((result) => (
          <span key={result.control}>
            <ControlLink id={result.control} />: <Text>{result.reason}</Text>
          </span>
        ))}
        {results.length === 0 && reason !== '' && <Text>{reason}</Text>}
      </span>
    ),
    optional: true,
  },
  {
    id: 'time',
    header: 'Decided',
    cell: ({ decided }) => <Time at={decided} />,
    optional: true,
  },
  {
    id: 'entry',
    header: 'Entry',
    cell: ({ index }) => <EntryLink index={index} />,
    optional: true,
  },
];

function Outcome({ run: { state, since, decisions, totals, progress, error } }: { run: Run }) {
  const changed = totals.blocked + totals.undecided + totals.passed + totals.skipped;
  return (
    <>
      {state === 'running' && (
        <ProgressBar aria-label="Replay" value={progress * 100} className={styles.progress ?? ''}>
          <div className={styles.bar}>
            <div className={styles.done} style={{ width: `${progress * 100}%` }} />
          </div>
          <span>{formatPercent(progress)}</span>
        </ProgressBar>
      )}
      {state === 'failed' && <Failed error={error} />}
      {state === 'canceled' && (
        <Notice tone="info" title="The replay was canceled">
          What it had found until then is below.
        </Notice>
      )}
      <p role="status">
        {state === 'done' && (
          <>
            Since <Time at={since} />:{' '}
          </>
        )}
        {totals.blocked.toLocaleString()} would be blocked, {totals.undecided.toLocaleString()} would be undecided,{' '}
        {totals.passed.toLocaleString()} would pass, {totals.unchanged.toLocaleString()} would be the same
        {totals.skipped > 0n && `, ${totals.skipped.toLocaleString()} cannot be replayed`}.
      </p>
      {(decisions.length > 0 || state === 'done') && (
        <Table
          label="Decisions that would differ"
          rows={decisions}
          rowKey={({ index }) => String(index)}
          columns={columns}
          empty={
            <Empty title="No decision would differ">
              {totals.unchanged === 0n ? 'No gate was asked in this range.' : undefined}
            </Empty>
          }
        />
      )}
      {changed > BigInt(decisions.length) && state === 'done' && (
        <p className={styles.muted}>
          The table has the first {decisions.length.toLocaleString()} of {changed.toLocaleString()}. muniment control
          replay prints all.
        </p>
      )}
    </>
  );
}
