import styles from './records.module.css';
import { visible } from './text';

/** A text that evidence chooses, on one line. Its direction stays its own. */
export const Text = ({ children }: { children: string }) => <bdi className={styles.text}>{visible(children)}</bdi>;

/** A longer text that evidence chooses, with its lines. */
export const Prose = ({ children }: { children: string }) => (
  <p className={styles.prose} dir="auto">
    {visible(children)}
  </p>
);
