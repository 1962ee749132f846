import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import type { GetOverviewResponse } from '../../gen/muniment/v1/portal_pb';
import { count } from '../../records';
import { formatNumber, type Tone } from '../../ui';
import { STOPPED } from './Decisions';
import { verdictOf } from './Log';
import { totalsOf } from './state';
import styles from './overview.module.css';

/** The first answers: what was stopped, is late, ends or waits, and whether the log works. */
export function Tiles({ of: { decisions, findings, exceptions, log } }: { of: GetOverviewResponse }) {
  const { blocked, undecided, all } = totalsOf({ stages: decisions?.stages ?? [] });
  const stopped = blocked + undecided;
  return (
    <ul className={styles.tiles}>
      {decisions?.connection?.connected === true && (
        <li>
          <Link to="/" hash={STOPPED} className={styles.tile} data-tone={stopped > 0n ? 'warn' : 'good'}>
            <Tile title="Stopped today" value={formatNumber(stopped)}>
              of {count(all, 'decision')}
            </Tile>
          </Link>
        </li>
      )}
      {findings?.connection?.connected === true && (
        <li>
          <Link
            to="/findings"
            search={{ show: 'overdue' }}
            className={styles.tile}
            data-tone={findings.overdue > 0n ? 'bad' : 'good'}
          >
            <Tile title="Findings overdue" value={formatNumber(findings.overdue)}>
              of {formatNumber(findings.total - findings.resolved)} not resolved
            </Tile>
          </Link>
        </li>
      )}
      {exceptions?.connection?.connected === true && (
        <>
          <li>
            <Link
              to="/exceptions"
              search={{ expires: '14d' }}
              className={styles.tile}
              data-tone={exceptions.expiringTotal > 0n ? 'warn' : 'good'}
            >
              <Tile title="Exceptions that expire" value={formatNumber(exceptions.expiringTotal)}>
                within 14 days
              </Tile>
            </Link>
          </li>
          <li>
            <Link
              to="/exceptions"
              search={{ show: 'waiting' }}
              className={styles.tile}
              data-tone={exceptions.waitingTotal > 0n ? 'warn' : 'good'}
            >
              <Tile title="Exceptions that wait" value={formatNumber(exceptions.waitingTotal)}>
                for an approval
              </Tile>
            </Link>
          </li>
        </>
      )}
      {log !== undefined && (
        <li>
          <LogTile verdict={verdictOf(log)} entries={log.treeSize} />
        </li>
      )}
    </ul>
  );
}

const LogTile = ({ verdict: { tone, word }, entries }: { verdict: { tone: Tone; word: string }; entries: bigint }) => (
  <Link to="/audit" className={styles.tile} data-tone={tone}>
    <Tile title="Log" value={word}>
      {count(entries, 'entry', 'entries')}
    </Tile>
  </Link>
);

const Tile = ({ title, value, children }: { title: string; value: string; children: ReactNode }) => (
  <>
    <span className={styles.tileTitle}>{title}</span>
    <span className={styles.tileValue}>{value}</span>
    <span className={styles.tileDetail}>{children}</span>
  </>
);
