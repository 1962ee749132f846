import { Button } from './Button';
import { formatNumber } from './format';
import styles from './Pages.module.css';

/** Rows of a page of a list. */
export const PAGE_SIZE = 100;

interface Props {
  /** Names the list, such as "findings". */
  label: string;
  /** Number of the first row on the page, from 0. */
  offset: number;
  /** Rows on the page. */
  count: number;
  /** Rows of the whole list, if they are counted. */
  total?: number;
  /** Undefined: this is the first page. */
  onPrevious: (() => void) | undefined;
  /** Undefined: this is the last page. */
  onNext: (() => void) | undefined;
}

/** Moves between the pages of a list. It is absent if there is one page. */
export function Pages({ label, offset, count, total, onPrevious, onNext }: Props) {
  if (onPrevious === undefined && onNext === undefined) return null;
  return (
    <nav className={styles.pages} aria-label={`Pages of ${label}`}>
      <span className={styles.range} role="status">
        {formatNumber(offset + 1)} to {formatNumber(offset + count)}
        {total !== undefined && ` of ${formatNumber(total)}`}
      </span>
      <Button isDisabled={onPrevious === undefined} onPress={() => onPrevious?.()}>
        Previous
      </Button>
      <Button isDisabled={onNext === undefined} onPress={() => onNext?.()}>
        Next
      </Button>
    </nav>
  );
}
