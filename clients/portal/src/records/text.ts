/** Texts that evidence chooses. */

import { isHidden } from '../ui/visible';

/**
 * Writes the hidden characters of a text as escapes. Line feeds and tabs stay.
 */
export const visible = (text: string): string =>
  Array.from(text, (c) => (isHidden(c, true) ? `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}` : c)).join('');

/** Counts things: 1 artifact, 2 artifacts. */
export const count = (n: number | bigint, one: string, several = `${one}s`): string =>
  `${n.toLocaleString()} ${Number(n) === 1 ? one : several}`;

/** Joins words: a, b and c. */
export function listed(words: readonly string[], last = 'and'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1) ?? ''}`;
}

/** Returns the digest by which an artifact is known, as algorithm:value. */
export function digestOf(digest: Readonly<Record<string, string>>): string {
  const [algorithm] = 'sha256' in digest ? ['sha256'] : Object.keys(digest).sort();
  return algorithm === undefined ? '' : `${algorithm}:${digest[algorithm] ?? ''}`;
}
