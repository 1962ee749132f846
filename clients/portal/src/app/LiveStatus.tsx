import { useLive } from '../live/live';
import { behindText } from '../session/behind';
import { useBehind } from '../session/session';
import { formatTime } from '../ui/format';
import { Status } from '../ui/Status';
import styles from './LiveStatus.module.css';

/** Whether the page follows the log. A server that is behind sends old entries live. */
export function LiveStatus() {
  const { state, heard } = useLive();
  const behind = useBehind();
  const since = heard === undefined ? undefined : formatTime(new Date(heard));
  return (
    <span
      role="status"
      className={styles.live}
      title={since === undefined ? undefined : `The server was last heard at ${since}`}
    >
      {state === 'live' &&
        (behind === undefined ? (
          <Status tone="good">Live</Status>
        ) : (
          <Status tone="warn">As of {behindText(behind)}</Status>
        ))}
      {state === 'reconnecting' && <Status tone="pending">Reconnecting</Status>}
      {state === 'stale' && (
        <Status tone="warn">{since === undefined ? 'Not live' : `Stale since ${since.slice(11, 16)}`}</Status>
      )}
      {state === 'off' && <Status tone="neutral">Not live</Status>}
    </span>
  );
}
