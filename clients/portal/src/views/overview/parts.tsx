/** What the parts of the overview share. */

import type { ReactNode } from 'react';
import type { Connection } from '../../gen/muniment/v1/portal_pb';
import { EntryLink, Text } from '../../records';
import { Ago, Code, formatPercent } from '../../ui';
import styles from './overview.module.css';

/** When the newest entry was recorded that a part is computed from. */
export const Newest = ({ of, what }: { of: Connection | undefined; what: string }) =>
  of?.newest === undefined ? null : (
    <>
      newest {what}: <EntryLink index={of.newest} />, <Ago at={of.newestTime} />
    </>
  );

/** A short text that evidence chooses. A narrow table scrolls rather than breaks its words. */
export const Words = ({ children }: { children: string }) => (
  <span className={styles.words}>
    <Text>{children}</Text>
  </span>
);

/** Numbers with their meaning, each a link to what explains it. */
export const Figures = ({ children }: { children: ReactNode }) => <ul className={styles.figures}>{children}</ul>;

export const Figure = ({ value, label }: { value: ReactNode; label: ReactNode }) => (
  <li className={styles.figure}>
    <span className={styles.value}>{value}</span>
    <span className={styles.label}>{label}</span>
  </li>
);

/** A share from 0 to 1, with a bar. */
export const Share = ({ of, children }: { of: number; children?: ReactNode }) => (
  <span className={styles.share}>
    <span className={styles.bar} aria-hidden="true">
      <span className={styles.fill} style={{ width: `${Math.max(0, Math.min(1, of)) * 100}%` }} />
    </span>
    <span>{children ?? formatPercent(of)}</span>
  </span>
);

/** A part of a panel, with a heading. */
export const Part = ({ title, id, children }: { title: ReactNode; id?: string; children: ReactNode }) => (
  <div className={styles.part} id={id}>
    <h3 className={styles.heading}>{title}</h3>
    {children}
  </div>
);

/** How to connect what a part of the overview is computed from. */
export const Connect = ({ title, about, of }: { title: string; about: string; of: Connection | undefined }) => (
  <div className={styles.connect}>
    <h3>{title}</h3>
    <p>{about}</p>
    {of?.commands.map((command, i) => (
      <Code key={command} text={command} label={`command: ${title}${i > 0 ? `, ${i + 1}` : ''}`} />
    ))}
    {of !== undefined && of.page !== '' && (
      <p className={styles.label}>
        In Muniment’s documentation: <code>{of.page}</code>
      </p>
    )}
  </div>
);
