import * as v from 'valibot';
import { oneOf, paging, text } from '../../records/search';

export const SHOW = ['waiting', 'in-force', 'ended'] as const;

/** The address of the list. */
export const listSearch = v.object({
  show: oneOf(SHOW),
  /** Only those in force that expire within so many days. */
  expires: oneOf(['7d', '14d', '30d']),
  control: text,
  ...paging,
});

/** The address of a request: what its form begins with. */
export const newSearch = v.object({
  control: text,
  finding: text,
  artifact: text,
  name: text,
  environment: text,
});
