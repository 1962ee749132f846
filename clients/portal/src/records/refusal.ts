/** Submissions of events, and the words with which the server refuses them. */

import { ConnectError } from '@connectrpc/connect';

/** Returns a key under which the log records an event once, however often it is sent. */
export const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');

/** What the server says about a submission that it has refused. */
export interface Refusal {
  /** The field of the document. Empty: none is at fault. */
  field: string;
  text: string;
}

/** Reads the words of a refusal, without the names of the transport. */
export function refusalOf(error: unknown): Refusal {
  const message =
    error instanceof ConnectError ? error.rawMessage : error instanceof Error ? error.message : String(error);
  const found = /^(?:submission\.)?(?:payload|kind): (?:([a-z_]+(?:\.[a-z_]+|\[\d+\])*): )?(.+)$/su.exec(message);
  return found ? { field: found[1] ?? '', text: found[2] ?? '' } : { field: '', text: message };
}
