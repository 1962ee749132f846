import { Link } from '@tanstack/react-router';
import type { LogHealth } from '../../gen/muniment/v1/portal_pb';
import { count } from '../../records';
import { Ago, Fact, Facts, formatBytes, formatNumber, Notice, Panel, Status, type Tone } from '../../ui';
import { problemsOf } from './state';
import styles from './overview.module.css';

/** The worst of the problems of a log in two words. */
export function verdictOf(log: LogHealth): { tone: Tone; word: string } {
  const [worst] = problemsOf(log);
  if (worst === undefined) return { tone: 'good', word: 'Healthy' };
  return { tone: worst.tone, word: worst.tone === 'bad' ? 'Out of order' : 'Needs attention' };
}

/** Whether the log works, and how it is watched. */
export function Log({ of: log }: { of: LogHealth }) {
  const problems = problemsOf(log);
  const { tone, word } = verdictOf(log);
  return (
    <Panel
      title="Log"
      note={
        <>
          <Link to="/audit">Check it in this browser</Link>
        </>
      }
      actions={<Status tone={tone}>{word}</Status>}
    >
      {problems.map((problem) => (
        <Notice key={problem.text} tone={problem.tone} title={problem.text} />
      ))}
      <Facts>
        <Fact name="Checkpoint">
          <Link to="/audit">{count(log.treeSize, 'entry', 'entries')}</Link>, as of <Ago at={log.asOf} />
        </Fact>
        <Fact name="Of this tenant">
          <Link to="/search">{count(log.streamEntries, 'entry', 'entries')}</Link>
        </Fact>
        <Fact name="Newest entry">{log.newestEntry === undefined ? 'none yet' : <Ago at={log.newestEntry} />}</Fact>
        <Fact name="Appends">
          {log.replica ? 'not here: this is a replica' : log.ready ? 'accepted' : 'refused'}
          {log.pending > 0n && `, ${formatNumber(log.pending)} wait to be sequenced`}
        </Fact>
        <Fact name="Witnesses">
          {log.witnesses.length === 0 ? (
            <>
              none. How to add one is in Muniment’s documentation: <code>docs/witness.md</code>
            </>
          ) : (
            <Followers of={log.witnesses} />
          )}
        </Fact>
        <Fact name="Anchors">
          {log.anchors.length === 0 ? (
            <>
              none. How to add one is in Muniment’s documentation: <code>docs/operator.md</code>
            </>
          ) : (
            <Followers of={log.anchors} />
          )}
        </Fact>
        <Fact name="Free disk space">{log.freeBytes === undefined ? 'unknown' : formatBytes(log.freeBytes)}</Fact>
        <Fact name="Server">
          {log.log}, version {log.version}
        </Fact>
      </Facts>
    </Panel>
  );
}

/** Witnesses or anchors, with how far each has come. */
const Followers = ({ of }: { of: readonly { name: string; lag: bigint; failures: bigint }[] }) => (
  <ul className={styles.followers}>
    {of.map(({ name, lag, failures }) => (
      <li key={name}>
        <Link to="/audit">{name}</Link>{' '}
        {lag === 0n ? (
          <Status tone="good">up to date</Status>
        ) : (
          <Status tone="warn">{`${formatNumber(lag)} behind`}</Status>
        )}
        {failures > 0n && ` ${formatNumber(failures)} failures since the start`}
      </li>
    ))}
  </ul>
);
