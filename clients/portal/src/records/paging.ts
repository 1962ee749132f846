import { useCallback, useState } from 'react';
import { PAGE_SIZE } from '../ui/Pages';

/** The page of a list, as its address has it. */
export interface PageOf {
  page?: string | undefined;
  from?: number | undefined;
}

/**
 * Returns how to move between the pages of a list. The address names the page.
 * A page that was opened by its address leads back to the first one.
 */
export function usePaging(current: PageOf, nextToken: string, go: (to: PageOf) => void) {
  const [before, setBefore] = useState<readonly PageOf[]>([]);
  const { page, from = 0 } = current;
  const next = useCallback(() => {
    setBefore([...before, { page, from }]);
    go({ page: nextToken, from: from + PAGE_SIZE });
  }, [before, from, go, nextToken, page]);
  const previous = useCallback(() => {
    const last = before.at(-1);
    setBefore(before.slice(0, -1));
    go(last?.page === undefined ? {} : last);
  }, [before, go]);
  return {
    offset: from,
    onPrevious: page === undefined ? undefined : previous,
    onNext: nextToken === '' ? undefined : next,
  };
}
