import * as v from 'valibot';
import { paging, text } from '../../records/search';

/** The address of the list. */
export const listSearch = v.object(paging);

/** The address of a cache: the entry of which of its windows. */
export const cacheSearch = v.object({ window: text });
