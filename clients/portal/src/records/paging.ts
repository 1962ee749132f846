import { useRouterState } from '@tanstack/react-router';
import { useCallback } from 'react';
import { PAGE_SIZE } from '../ui/Pages';

/** The page of a list, as its address has it. */
export interface PageOf {
  page?: string | undefined;
  from?: number | undefined;
}

declare module '@tanstack/react-router' {
  /** What the browser's history keeps of an address. It outlives reloads, and moves back and forward. */
  interface HistoryState {
    /** The pages that led to this one. A list has no token that leads back. */
    before?: readonly PageOf[];
  }
}

/** A move to a page: options of `navigate`. */
export interface Move {
  search: PageOf;
  state: { before: readonly PageOf[] };
}

/**
 * Returns the move to the next page.
 *
 * @param size the number of rows of a page
 */
export const moveOn = (
  { page, from = 0 }: PageOf,
  before: readonly PageOf[],
  nextToken: string,
  size = PAGE_SIZE,
): Move => ({
  search: { page: nextToken, from: from + size },
  state: { before: [...before, page === undefined ? {} : { page, from }] },
});

/** Returns the move to the page before. From a page that was opened by its address, it is the first one. */
export const moveBack = (before: readonly PageOf[]): Move => ({
  search: before.at(-1) ?? {},
  state: { before: before.slice(0, -1) },
});

const none: readonly PageOf[] = [];

/**
 * Returns how to move between the pages of a list. The address names the page.
 *
 * @param size the number of rows of a page
 */
export function usePaging(current: PageOf, nextToken: string, go: (move: Move) => void, size = PAGE_SIZE) {
  const before = useRouterState({ select: ({ location }) => location.state.before ?? none });
  const { page, from = 0 } = current;
  const next = useCallback(() => {
    go(moveOn({ page, from }, before, nextToken, size));
  }, [before, from, go, nextToken, page, size]);
  const previous = useCallback(() => {
    go(moveBack(before));
  }, [before, go]);
  return {
    offset: page === undefined ? 0 : from,
    onPrevious: page === undefined ? undefined : previous,
    onNext: nextToken === '' ? undefined : next,
  };
}
