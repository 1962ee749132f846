import type { ReactNode } from 'react';
import { classes } from './classes';
import { CheckIcon, ClockIcon, CrossIcon, InfoIcon, MinusIcon, WarnIcon } from './icons';
import styles from './Status.module.css';

/** The role of a status. Each has its own icon, so that colour adds nothing alone. */
export type Tone = 'good' | 'bad' | 'warn' | 'info' | 'pending' | 'neutral';

const icons = {
  good: CheckIcon,
  bad: CrossIcon,
  warn: WarnIcon,
  info: InfoIcon,
  pending: ClockIcon,
  neutral: MinusIcon,
};

/** A status: an icon, a word and a colour. */
export function Status({ tone, children }: { tone: Tone; children: ReactNode }) {
  const Icon = icons[tone];
  return (
    <span className={classes(styles.status, styles[tone])}>
      <Icon />
      <span>{children}</span>
    </span>
  );
}

/** A message that needs attention, within a view. */
export function Notice({ tone, title, children }: { tone: Tone; title: ReactNode; children?: ReactNode }) {
  const Icon = icons[tone];
  return (
    <div className={classes(styles.notice, styles[tone])} role={tone === 'bad' ? 'alert' : undefined}>
      <Icon />
      <div className={styles.body}>
        <strong>{title}</strong>
        {children !== undefined && <div className={styles.detail}>{children}</div>}
      </div>
    </div>
  );
}
