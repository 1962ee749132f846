import { Fragment } from 'react';
import styles from './records.module.css';
import { visible } from './text';

/** A text that evidence chooses, on one line. Its direction stays its own. Long names break after a slash. */
export const Text = ({ children }: { children: string }) => (
  <bdi className={styles.text}>
    {visible(children)
      .split(/(?<=\/)/u)
      .map((piece, i) => (
        <Fragment key={i}>
          {i > 0 && <wbr />}
          {piece}
        </Fragment>
      ))}
  </bdi>
);

/** A longer text that evidence chooses, with its lines. */
export const Prose = ({ children }: { children: string }) => (
  <p className={styles.prose} dir="auto">
    {visible(children)}
  </p>
);
