/** The frame of a view that lists records page by page. */

import { useQuery } from '@connectrpc/connect-query';
import { keepPreviousData } from '@tanstack/react-query';
import { useMemo, type ReactNode } from 'react';
import { LedgerService, type ListEntriesResponse } from '../gen/muniment/v1/ledger_pb';
import { usePerson } from '../session/session';
import { Answer, Page, Pages, Panel, Table, type Column } from '../ui';
import { usePaging, type Move, type PageOf } from './paging';
import { count } from './text';

/** What a list is about. */
interface Frame<Row> {
  title: string;
  lead: string;
  /** One row, such as "cache". */
  one: string;
  note: ReactNode;
  columns: readonly Column<Row>[];
  rowKey: (row: Row) => string;
  /** Shown instead of the rows if there are none. */
  empty: ReactNode;
  /** The page, as the address has it. */
  at: PageOf;
  /** Moves to another page. */
  go: (move: Move) => void;
}

interface Props<Row, Data> extends Frame<Row> {
  query: { data: Data | undefined; error: unknown; refetch: () => unknown };
  rows: (data: Data) => readonly Row[];
  /** What the pages consist of, such as "windows of caches". */
  paged: string;
  /** The number of it on the page, and on a whole page. */
  counted: (data: Data) => number;
  size: number;
  /** The rows of all pages, if the server counts them. */
  total?: (data: Data) => number;
  /** Stands above the list. */
  above?: (data: Data) => ReactNode;
  filters?: ReactNode;
}

/** A list, with its heading, its pages, and what it shows when it is empty. */
export function List<Row, Data extends { nextPageToken: string }>({
  title,
  lead,
  one,
  note,
  columns,
  rowKey,
  empty,
  at,
  go,
  query,
  rows: rowsOf,
  paged,
  counted,
  size,
  total: totalOf,
  above,
  filters,
}: Props<Row, Data>) {
  const pages = usePaging(at, query.data?.nextPageToken ?? '', go, size);
  const { data } = query;
  const rows = useMemo(() => (data === undefined ? [] : rowsOf(data)), [data, rowsOf]);
  return (
    <Page title={title} lead={lead}>
      {filters}
      <Answer query={query} label={`Loading ${title.toLowerCase()}`}>
        {(answer) => {
          const total = totalOf?.(answer);
          return (
            <>
              {above?.(answer)}
              <Panel title={count(total ?? rows.length, one)} note={note} flush>
                <Table
                  label={title}
                  rows={rows}
                  rowKey={rowKey}
                  columns={columns}
                  empty={empty}
                  {...(total !== undefined && { total, offset: pages.offset })}
                />
                <Pages label={paged} {...pages} count={counted(answer)} {...(total !== undefined && { total })} />
              </Panel>
            </>
          );
        }}
      </Answer>
    </Page>
  );
}

/**
 * A list of what entries of a kind are about, by pages of entries.
 *
 * @param rows the things that some entries are about
 */
export function EntryList<Row>({
  kind,
  size,
  ...frame
}: Frame<Row> & {
  kind: string;
  size: number;
  paged: string;
  rows: (data: ListEntriesResponse) => readonly Row[];
}) {
  const { tenant } = usePerson();
  const query = useQuery(
    LedgerService.method.listEntries,
    { tenant, filter: { kind }, pageSize: size, pageToken: frame.at.page ?? '' },
    { placeholderData: keepPreviousData },
  );
  return <List {...frame} query={query} size={size} counted={({ entries }) => entries.length} />;
}
