import * as v from 'valibot';
import { paging, text } from '../../records/search';

/** The address of the list. */
export const listSearch = v.object(paging);

/** The address of a job: which of its runs, and the entry of which checkpoint. */
export const jobSearch = v.object({ run: text, checkpoint: text });
