import { createClient } from '@connectrpc/connect';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { transport } from '../../api/transport';
import { PortalService, type SearchHit, type SearchResponse } from '../../gen/muniment/v1/portal_pb';
import { usePaging } from '../../records/paging';
import { usePerson } from '../../session/session';
import { Ago, Answer, Button, Empty, Evidence, formatNumber, Notice, Page, PAGE_SIZE, Pages, Panel } from '../../ui';
import { hintFor, meanings, placeOf } from './meanings';
import { forgetSearches, remember, useRecent } from './recent';
import styles from './search.module.css';

/** The results of the search box. */
export function View() {
  const { q } = useSearch({ from: '/members/search' });
  const query = (q ?? '').trim();
  return query === '' ? <Nothing /> : <Results key={query} query={query} />;
}

/** What can be searched for, and what was. */
function Nothing() {
  const recent = useRecent();
  return (
    <Page title="Search" lead="One box takes every identifier, in upper or lower case. The key / moves to it.">
      <Panel title="What can be searched for">
        <ul className={styles.kinds}>
          <li>
            a digest, or its first 8 digits: <code>sha256:9f86d081…</code>
          </li>
          <li>
            the index of an entry: <code>42</code>
          </li>
          <li>
            a package URL: <code>pkg:oci/gateway</code>
          </li>
          <li>
            a reference of an image: <code>registry.example.com/gateway:1.7.0</code>
          </li>
          <li>a signer or a submitter</li>
          <li>a control, a finding, an exception or an incident, by its ID</li>
          <li>a part of an artifact’s name</li>
        </ul>
      </Panel>
      {recent.length > 0 && (
        <Panel
          title="Recent searches"
          note="in this tab"
          actions={<Button onPress={forgetSearches}>Forget them</Button>}
        >
          <ul className={styles.recent}>
            {recent.map((text) => (
              <li key={text}>
                <Link to="/search" search={{ q: text }}>
                  <Evidence text={text} most={120} />
                </Link>
              </li>
            ))}
          </ul>
        </Panel>
      )}
    </Page>
  );
}

function Results({ query }: { query: string }) {
  const { tenant } = usePerson();
  const { page, from } = useSearch({ from: '/members/search' });
  const navigate = useNavigate();
  const pageToken = page ?? '';
  const answer = useQuery({
    queryKey: ['search', tenant, query, pageToken],
    queryFn: ({ signal }) =>
      createClient(PortalService, transport).search({ tenant, query, pageToken, pageSize: PAGE_SIZE }, { signal }),
    placeholderData: keepPreviousData,
    // Repeated while the server reads what it has not searched yet.
    refetchInterval: ({ state }) => ((state.data?.behind ?? 0n) > 0n ? 3_000 : false),
  });
  const { data } = answer;
  useEffect(() => {
    if (data !== undefined) remember(query);
  }, [data, query]);
  useJump(page === undefined ? data : undefined);
  const pages = usePaging({ page, from }, data?.nextPageToken ?? '', ({ search, state }) => {
    void navigate({ to: '/search', search: { q: query, ...search }, state });
  });
  return (
    <Page
      title="Search"
      lead={
        <>
          for <Evidence text={query} most={200} />
        </>
      }
    >
      <Answer query={answer} label="Searching">
        {(found) => (
          <>
            <Understood answer={found} />
            {found.hits.length === 0 ? (
              <NotFound query={query} answer={found} />
            ) : (
              <Hits hits={found.hits} isTruncated={found.truncated} />
            )}
            <Pages label="hits" count={found.hits.length} {...pages} />
          </>
        )}
      </Answer>
    </Page>
  );
}

/** Goes to the only hit at once. Going back leads to what was before the search. */
function useJump(answer: SearchResponse | undefined): void {
  const navigate = useNavigate();
  const [hit] = answer?.hits ?? [];
  const isOnly = answer?.hits.length === 1 && answer.nextPageToken === '' && !answer.truncated && answer.behind === 0n;
  const place = isOnly && hit !== undefined ? placeOf(hit) : undefined;
  useEffect(() => {
    if (place !== undefined) void navigate({ ...place.target, replace: true });
    // eslint-disable-next-line react-hooks/exhaustive-deps -- a place is a new object each time
  }, [hit]);
}

function Understood({ answer: { meanings: found, behind } }: { answer: SearchResponse }) {
  return (
    <>
      {found.length > 0 && (
        <p className={styles.understood} role="status">
          Understood as {found.map((meaning) => meanings[meaning]).join(', ')}.
        </p>
      )}
      {behind > 0n && (
        <Notice tone="info" title="The search is not complete yet">
          The server is still reading {formatNumber(behind)} entries for names and beginnings of digests. The page asks
          again.
        </Notice>
      )}
    </>
  );
}

function NotFound({ query, answer: { state } }: { query: string; answer: SearchResponse }) {
  const hint = hintFor(query);
  return (
    <Empty title="Nothing found">
      {state !== undefined && (
        <p>None of the {formatNumber(state.treeSize)} entries of the log that are yours matches.</p>
      )}
      {hint !== undefined && <p>{hint}</p>}
      <p>
        <Link to="/search" search={{ q: '' }}>
          What can be searched for
        </Link>
      </p>
    </Empty>
  );
}

/** The hits. The arrow keys move between them, and from the search box to the first. */
function Hits({ hits, isTruncated }: { hits: readonly SearchHit[]; isTruncated: boolean }) {
  const list = useRef<HTMLOListElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if ((event.key !== 'ArrowDown' && event.key !== 'ArrowUp') || event.altKey || event.ctrlKey || event.metaKey)
        return;
      const links = [...(list.current?.querySelectorAll('a') ?? [])];
      const { activeElement } = document;
      const at = links.findIndex((link) => link === activeElement);
      const isBox = activeElement instanceof HTMLInputElement && activeElement.type === 'search';
      if (at < 0 && !isBox) return;
      const next = links[at + (event.key === 'ArrowDown' ? 1 : -1)];
      if (next === undefined) return;
      event.preventDefault();
      next.focus();
    };
    addEventListener('keydown', pressed);
    return () => {
      removeEventListener('keydown', pressed);
    };
  }, []);
  return (
    <Panel title="Hits" note={isTruncated ? 'the first ones: a more exact search finds fewer' : undefined} flush>
      <ol className={styles.hits} ref={list}>
        {hits.map((hit, i) => (
          <Hit key={i} hit={hit} />
        ))}
      </ol>
    </Panel>
  );
}

function Hit({ hit }: { hit: SearchHit }) {
  const place = placeOf(hit);
  const title = <Evidence text={hit.title === '' ? '(without a name)' : hit.title} most={200} />;
  return (
    <li className={styles.hit}>
      <span className={styles.type}>{place?.type ?? 'Other'}</span>
      <span className={styles.title}>{place === undefined ? title : <Link {...place.target}>{title}</Link>}</span>
      <span className={styles.detail}>
        {hit.kind !== '' && <>{hit.kind} </>}
        <Evidence text={hit.detail} most={200} />
      </span>
      {hit.time !== undefined && (
        <span className={styles.time}>
          <Ago at={hit.time} />
        </span>
      )}
    </li>
  );
}
