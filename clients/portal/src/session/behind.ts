/** Servers that lack the newest entries of the log. */

import { formatRelative } from '../ui/format';
import type { Session } from './session';

/** A replica that follows its log is a few seconds behind at most. */
const tolerated = 30_000;

/** What a server lacks. */
export interface Behind {
  /** It has all entries up to this time. */
  asOf: Date;
  /** Its own time, since the clock of the browser can be another. */
  now: number;
  replica: boolean;
}

/** Returns how far a server is behind. Undefined: it is up to date. */
export function behindOf({ asOf, now, replica }: Pick<Session, 'asOf' | 'now' | 'replica'>): Behind | undefined {
  if (asOf === undefined) return undefined;
  const behind = { asOf: new Date(asOf), now: Date.parse(now), replica };
  return behind.now - behind.asOf.getTime() > tolerated ? behind : undefined;
}

/** Returns the age of what a server has: 5 minutes ago. */
export const behindText = ({ asOf, now }: Behind): string => formatRelative(asOf, now);
