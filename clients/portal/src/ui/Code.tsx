import { CopyButton } from './CopyButton';
import styles from './Code.module.css';

/** A block of text to copy, such as a command. The label names it. */
export function Code({ text, label }: { text: string; label: string }) {
  return (
    <div className={styles.block}>
      <pre className={styles.text} tabIndex={0} role="group" aria-label={label}>
        <code>{text}</code>
      </pre>
      <div className={styles.copy}>
        <CopyButton text={text} label={label} />
      </div>
    </div>
  );
}
