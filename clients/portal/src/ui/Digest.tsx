import { CopyButton } from './CopyButton';
import styles from './Digest.module.css';

/**
 * A digest such as sha256:9f86…, shortened in the middle, with a button that
 * copies all of it.
 *
 * @param full shows all digits
 */
export function Digest({ value, full = false, label = 'digest' }: { value: string; full?: boolean; label?: string }) {
  return (
    <span className={styles.digest}>
      <code className={full ? styles.full : styles.short} title={full ? undefined : value}>
        {full ? value : shortDigest(value)}
      </code>
      <CopyButton text={value} label={`${label} ${shortDigest(value)}`} />
    </span>
  );
}

/** Shortens a digest to what tells it from others. */
export function shortDigest(value: string): string {
  const [, algorithm = '', digits = ''] = /^([a-z0-9]+:)?(.*)$/su.exec(value) ?? [];
  return digits.length <= 20 ? value : `${algorithm}${digits.slice(0, 10)}…${digits.slice(-6)}`;
}

/** Returns bytes as hexadecimal digits. */
export const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
