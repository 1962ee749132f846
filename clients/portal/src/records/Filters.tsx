import { Link } from '@tanstack/react-router';
import styles from './records.module.css';

/** A list that is filtered in one of several ways, each with its own address. */
export interface Filter {
  label: string;
  search: Readonly<Record<string, string | undefined>>;
  current: boolean;
}

/** Links to the filters of a list. */
export const Filters = ({
  label,
  to,
  filters,
}: {
  label: string;
  to: '/exceptions' | '/findings' | '/incidents';
  filters: readonly Filter[];
}) => (
  <nav aria-label={label} className={styles.tabs}>
    {filters.map((filter) => (
      <Link
        key={filter.label}
        to={to}
        search={filter.search}
        className={styles.tab}
        activeOptions={{ exact: true, explicitUndefined: true }}
        {...(filter.current && { 'aria-current': 'page' })}
        activeProps={{}}
      >
        {filter.label}
      </Link>
    ))}
  </nav>
);
