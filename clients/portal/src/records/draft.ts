/**
 * Drafts of forms. They outlive the view, a reload, and the end of a session in
 * the middle of a form, and end with the tab.
 */

import { useCallback, useState } from 'react';
import * as v from 'valibot';
import { usePerson } from '../session/session';

const prefix = 'muniment-draft ';

/**
 * Returns a draft, how to change it, and how to forget it. It belongs to the
 * person: others who sign in later in the same tab do not see it.
 *
 * @param name of the form
 * @param empty what a new draft has
 */
export function useDraft<Draft extends object>(
  name: string,
  schema: v.GenericSchema<unknown, Draft>,
  empty: () => Draft,
): readonly [draft: Draft, change: (part: Partial<Draft>) => void, forget: () => void] {
  const { tenant, identity } = usePerson();
  const key = `${prefix}${tenant} ${identity} ${name}`;
  const [state, setState] = useState(() => ({
    key,
    draft: restore(key, schema) ?? empty(),
  }));
  const draft = state.key === key ? state.draft : (restore(key, schema) ?? empty());
  const change = useCallback(
    (part: Partial<Draft>) => {
      const next = { ...draft, ...part };
      keep(key, next);
      setState({ key, draft: next });
    },
    [draft, key],
  );
  const forget = useCallback(() => {
    keep(key, undefined);
  }, [key]);
  return [draft, change, forget];
}

function restore<Draft>(key: string, schema: v.GenericSchema<unknown, Draft>): Draft | undefined {
  try {
    const kept = v.safeParse(schema, JSON.parse(sessionStorage.getItem(key) ?? 'null'));
    return kept.success ? kept.output : undefined;
  } catch {
    return undefined; // the browser forbids storage, or the text is not a draft
  }
}

function keep(key: string, draft: unknown): void {
  try {
    if (draft === undefined) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(draft));
  } catch {
    // The draft lasts as long as the view.
  }
}
