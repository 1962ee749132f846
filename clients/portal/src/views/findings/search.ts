import * as v from 'valibot';
import { oneOf, paging, text } from '../../records/search';

export const SHOW = ['unresolved', 'overdue', 'resolved'] as const;
export const SEVERITIES = ['critical', 'high', 'medium', 'low', 'info', 'unknown'] as const;

/** The address of the list. */
export const listSearch = v.object({
  show: oneOf(SHOW),
  severity: oneOf(SEVERITIES),
  control: text,
  artifact: text,
  ...paging,
});

/** The address of a finding. Findings with the same ID are about different artifacts. */
export const findingSearch = v.object({ first: text });
