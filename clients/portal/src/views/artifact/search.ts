import * as v from 'valibot';
import { oneOf, paging, text } from '../../records/search';

/** The address of an artifact: for which stage, environment and moment it is decided. */
export const search = v.object({
  stage: text,
  environment: text,
  /** A size of the log, or a time in RFC 3339. */
  at: text,
  /** The page of the timeline. */
  ...paging,
  type: oneOf(['image', 'chart', 'delta', 'export-manifest', 'file']),
});
