/** The cache of answers. Live updates, see live.ts, make it stale. */

import { QueryClient } from '@tanstack/react-query';
import { problemOf } from './errors';

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      retry: (count, error) => count < 2 && problemOf(error).retry,
      refetchOnWindowFocus: false,
    },
  },
});
