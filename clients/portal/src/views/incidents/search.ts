import * as v from 'valibot';
import { oneOf, paging, text } from '../../records/search';

export const SHOW = ['waiting', 'active', 'escalated', 'closed', 'misfires'] as const;

/** The address of the list. */
export const listSearch = v.object({ show: oneOf(SHOW), type: text, ...paging });
