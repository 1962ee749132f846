import { classes } from './classes';
import { dateOf, formatRelative, formatTime, offsetOf, type Moment } from './format';
import { useNow } from './now';
import styles from './Time.module.css';

/**
 * A moment, in the zone of the browser. The title has the zone and UTC.
 *
 * @param relative also shows the distance from now
 */
export function Time({ at, relative = false }: { at: Moment | undefined; relative?: boolean }) {
  const now = useNow();
  const date = at === undefined ? undefined : dateOf(at);
  if (date === undefined) return <span className={styles.none}>no time</span>;
  return (
    <time dateTime={date.toISOString()} title={`${formatTime(date)} ${offsetOf(date)} (${date.toISOString()})`}>
      <span className={styles.time}>{formatTime(date)}</span>
      {relative && (
        <>
          {' '}
          <span className={classes(styles.time, styles.relative)}>{formatRelative(date, now)}</span>
        </>
      )}
    </time>
  );
}

/** The distance of a moment from now. The title has the moment. */
export function Ago({ at }: { at: Moment | undefined }) {
  const now = useNow();
  const date = at === undefined ? undefined : dateOf(at);
  if (date === undefined) return <span className={styles.none}>no time</span>;
  return (
    <time className={styles.time} dateTime={date.toISOString()} title={`${formatTime(date)} ${offsetOf(date)}`}>
      {formatRelative(date, now)}
    </time>
  );
}
