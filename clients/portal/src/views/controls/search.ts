import * as v from 'valibot';
import { oneOf } from '../../records/search';

/** The address of a control: the days that a replay looks back. */
export const search = v.object({
  days: oneOf(['1d', '7d', '14d', '30d', '90d', '365d']),
});
