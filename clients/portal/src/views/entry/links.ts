/** Links from the attributes of entries to what they name. */

import type { LinkProps } from '@tanstack/react-router';

type Target = Pick<LinkProps, 'to' | 'params' | 'search'>;

const isIndex = (text: string) => /^(0|[1-9][0-9]{0,15})$/.test(text);

/** Attributes that name something with a page. Names can end in a number (docs/spec/entry.md, section 6). */
const targets = new Map<string, (value: string) => Target | undefined>([
  ['finding', (id) => ({ to: '/findings/$id', params: { id } })],
  ['entry', (index) => (isIndex(index) ? { to: '/entries/$index', params: { index } } : undefined)],
  ['request', (index) => (isIndex(index) ? { to: '/exceptions/$index', params: { index } } : undefined)],
  ['exception', (q) => ({ to: '/search', search: { q } })],
  ['incident', (q) => ({ to: '/search', search: { q } })],
  ['acceptedBy', (id) => ({ to: '/controls/$id', params: { id } })],
]);

/** Returns the link of an attribute, or undefined if it names nothing with a page. */
export const linkOfAttribute = (name: string, value: string): Target | undefined =>
  targets.get(name.replace(/\.\d+$/, ''))?.(value);
