/** The meanings of a query, and the places of what it finds. */

import type { LinkProps } from '@tanstack/react-router';
import { SearchMeaning, type SearchHit } from '../../gen/muniment/v1/portal_pb';

/** What a query was understood as, after "as". */
export const meanings: Record<SearchMeaning, string> = {
  [SearchMeaning.UNSPECIFIED]: 'something',
  [SearchMeaning.DIGEST]: 'a digest',
  [SearchMeaning.DIGEST_PREFIX]: 'the beginning of a digest',
  [SearchMeaning.INDEX]: 'the index of an entry',
  [SearchMeaning.PURL]: 'a package URL',
  [SearchMeaning.IMAGE]: 'a reference of an image',
  [SearchMeaning.SIGNER]: 'a signer or submitter',
  [SearchMeaning.CONTROL]: 'the ID of a control',
  [SearchMeaning.FINDING]: 'the ID of a finding',
  [SearchMeaning.EXCEPTION]: 'the ID of an exception',
  [SearchMeaning.INCIDENT]: 'the ID of an incident',
  [SearchMeaning.NAME]: 'a part of a name',
};

type Target = Required<Pick<LinkProps, 'to' | 'params'>>;

/** What a hit is, and its place in the portal. */
export interface Place {
  type: string;
  target: Target;
}

/** Returns the place of a hit. Undefined: this page does not know what it is. */
export function placeOf({ target }: SearchHit): Place | undefined {
  switch (target.case) {
    case 'entry':
      return { type: 'Entry', target: { to: '/entries/$index', params: { index: String(target.value) } } };
    case 'artifact':
      return { type: 'Artifact', target: { to: '/artifacts/$digest', params: { digest: target.value } } };
    case 'control':
      return { type: 'Control', target: { to: '/controls/$id', params: { id: target.value } } };
    case 'finding':
      return { type: 'Finding', target: { to: '/findings/$id', params: { id: target.value } } };
    case 'exception':
      return { type: 'Exception', target: { to: '/exceptions/$index', params: { index: String(target.value) } } };
    default:
      return undefined;
  }
}

/** Returns why a query may have found nothing, for people who expected something. */
export function hintFor(query: string): string | undefined {
  if (/^[0-9a-f]{1,7}$/i.test(query) && /[a-f]/i.test(query))
    return 'The beginning of a digest needs at least 8 digits.';
  if (
    /^[0-9a-f]{9,}$/i.test(query) &&
    !/^([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/i.test(query)
  )
    return `A whole digest has 64, 96 or 128 digits. These are ${query.length}.`;
  if (/^[0-9]+$/.test(query)) return 'An index finds entries of your own stream only.';
  return undefined;
}
