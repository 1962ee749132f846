package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/ledger/store"
)

// A runChange is a run without the openings that are erased.
type runChange struct {
	first             int64
	changes           int32 // before
	headers, payloads []byte
}

// A querier is a connection, a pool of them, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// changes reads the runs with openings that are to be erased, and returns them
// without these. They take effect only if no run has changed in between.
func (s *Store) changes(ctx context.Context, q querier, erasures []store.Erasure) ([]runChange, error) {
	if len(erasures) == 0 {
		return nil, nil
	}
	all := make([]int64, len(erasures))
	for i := range erasures {
		all[i] = int64(erasures[i].Index)
	}
	const query = `SELECT first, entries, headers, payloads, changes FROM $opening_runs WHERE first IN
		(SELECT (SELECT max(r.first) FROM $opening_runs r WHERE r.first <= e) FROM unnest($1::bigint[]) AS e)`
	var out []runChange
	var r storedRun
	err := s.scan(ctx, q, query, []any{all}, []any{&r.first, &r.entries, &r.headers, &r.payloads, &r.changes}, func() error {
		c, changed, err := r.without(erasures)
		if changed {
			out = append(out, c)
		}
		return err
	})
	return out, err
}

// without returns the run without the erased openings, and whether it has any.
func (r *storedRun) without(erasures []store.Erasure) (c runChange, changed bool, err error) {
	headers, err := decodeColumn(headerColumn, int(r.entries), r.headers)
	if err != nil {
		return c, false, err
	}
	payloads, err := decodeColumn(payloadColumn, int(r.entries), r.payloads)
	if err != nil {
		return c, false, err
	}
	for i := range erasures {
		e := &erasures[i]
		if !r.covers(e.Index) {
			continue
		}
		at := e.Index - uint64(r.first)
		changed = changed || len(payloads.slots[at]) > 0 || e.Header && len(headers.slots[at]) > 0
		payloads.slots[at] = nil
		if e.Header {
			headers.slots[at] = nil
		}
	}
	return runChange{r.first, r.changes, headers.encode(), payloads.encode()}, changed, nil
}

// queueChanges writes runs without what is erased. The transaction fails if one
// of them has changed since it was read, by a division by zero, which
// changedMeanwhile recognizes.
func (s *Store) queueChanges(b *pgx.Batch, changes []runChange) {
	n := len(changes)
	if n == 0 {
		return
	}
	firsts, before, headers, payloads := make([]int64, n), make([]int32, n), make([][]byte, n), make([][]byte, n)
	for i, c := range changes {
		firsts[i], before[i], headers[i], payloads[i] = c.first, c.changes, c.headers, c.payloads
	}
	b.Queue(s.sql(`WITH changed AS (
		UPDATE $opening_runs r SET headers = n.headers, payloads = n.payloads, changes = r.changes + 1
		FROM unnest($1::bigint[], $2::integer[], $3::bytea[], $4::bytea[]) AS n (first, changes, headers, payloads)
		WHERE r.first = n.first AND r.changes = n.changes RETURNING 1)
		SELECT 1 / (CASE WHEN count(*) = $5::bigint THEN 1 ELSE 0 END) FROM changed`), firsts, before, headers, payloads, int64(n))
}

// changedMeanwhile reports whether a transaction failed because a run has
// changed since it was read.
func changedMeanwhile(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "22012"
}

// queueErasures deletes the openings and projections of entries. The parts and
// objects of large payloads stay until Purge, because a reader may be at them.
func (s *Store) queueErasures(b *pgx.Batch, erasures []store.Erasure, changes []runChange) {
	if len(erasures) == 0 {
		return
	}
	s.queueChanges(b, changes)
	var all, headers, keyAt, termAt []int64
	var keys, terms [][]byte
	for i := range erasures {
		e := &erasures[i]
		index := int64(e.Index)
		all = append(all, index)
		if e.Header {
			headers = append(headers, index)
		}
		for j := range e.Keys {
			keys, keyAt = append(keys, e.Keys[j][:]), append(keyAt, index)
		}
		for j := range e.Terms {
			terms, termAt = append(terms, e.Terms[j][:]), append(termAt, index)
		}
	}
	b.Queue(s.sql(`WITH gone AS (DELETE FROM $payloads WHERE index = ANY($1::bigint[]) RETURNING large)
		INSERT INTO $large_erased (id) SELECT large FROM gone WHERE large IS NOT NULL`), all)
	b.Queue(s.sql(`DELETE FROM $large WHERE id IN (SELECT id FROM $large_erased)`))
	b.Queue(s.sql(`UPDATE $objects SET key = NULL WHERE key IS NOT NULL AND id IN (SELECT id FROM $large_erased)`))
	b.Queue(s.sql(`DELETE FROM $facts WHERE index = ANY($1::bigint[])`), all)
	b.Queue(s.sql(`INSERT INTO $unpurged (index) SELECT DISTINCT unnest($1::bigint[]) ON CONFLICT DO NOTHING`), all)
	if len(headers) > 0 {
		b.Queue(s.sql(`DELETE FROM $headers WHERE index = ANY($1::bigint[])`), headers)
	}
	if len(keys) > 0 {
		b.Queue(s.sql(`DELETE FROM $keys WHERE (key, index) IN (SELECT * FROM unnest($1::bytea[], $2::bigint[]))`), keys, keyAt)
	}
	if len(terms) > 0 {
		b.Queue(s.sql(`DELETE FROM $postings WHERE (term, index) IN (SELECT * FROM unnest($1::bytea[], $2::bigint[]))`), terms, termAt)
		b.Queue(s.sql(`UPDATE $posting_lists l SET offsets = ARRAY(SELECT o FROM unnest(l.offsets) AS o WHERE l.first + o <> ALL (e.indexes) ORDER BY o)
			FROM `+listsOf+` AS e WHERE l.term = e.term AND l.first = e.first`), terms, termAt)
		b.Queue(s.sql(`DELETE FROM $posting_lists l USING `+listsOf+` AS e WHERE l.term = e.term AND l.first = e.first AND l.offsets = '{}'`), terms, termAt)
	}
}

// listsOf are the lists in which pairs of a term and an index are, if at all.
const listsOf = `(SELECT p.term, (SELECT max(m.first) FROM $posting_lists m WHERE m.term = p.term AND m.first <= p.index) AS first, array_agg(p.index) AS indexes
	FROM unnest($1::bytea[], $2::bigint[]) AS p (term, index) GROUP BY 1, 2)`

// Erase implements store.Store.
func (s *Store) Erase(ctx context.Context, erasures []store.Erasure) error {
	err := s.alone(ctx, func(tx pgx.Tx, size uint64) error {
		if err := store.CheckErasures(erasures, size); err != nil {
			return err
		}
		changes, err := s.changes(ctx, tx, erasures)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		s.queueErasures(b, erasures, changes)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	return nil
}

// Purge implements store.Store. It deletes the parts and objects of large
// payloads that no entry has any more, and writes the tables with erased rows
// anew, because VACUUM alone leaves the bytes of a row in its page. Readers and
// writers of these tables wait meanwhile. Without the bucket the database is
// purged, and the error is that of the bucket.
func (s *Store) Purge(ctx context.Context) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	var indexes []int64
	rows, err := s.pool.Query(ctx, s.sql(`SELECT index FROM $unpurged`))
	if err == nil {
		indexes, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	if len(indexes) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	b.Queue(s.sql(`DELETE FROM $large_parts WHERE id IN (SELECT id FROM $large_erased)`))
	if err := s.send(ctx, b); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	swept := s.sweepObjects(ctx)
	for _, table := range []string{"$opening_runs", "$payloads", "$large_parts", "$objects", "$headers", "$facts", "$keys", "$posting_lists", "$postings"} {
		if _, err := s.pool.Exec(ctx, s.sql("VACUUM FULL "+table)); err != nil {
			return fmt.Errorf("purge: %w", errors.Join(swept, err))
		}
	}
	if swept != nil { // the erasures stay unpurged
		return fmt.Errorf("purge: %w", swept)
	}
	b = &pgx.Batch{}
	b.Queue(s.sql(`DELETE FROM $large_erased e WHERE NOT EXISTS (SELECT FROM $large_parts q WHERE q.id = e.id)`))
	b.Queue(s.sql(`DELETE FROM $unpurged WHERE index = ANY($1::bigint[])`), indexes)
	if err := s.send(ctx, b); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}

// Unpurged implements store.Store. It returns 1 if the database does not
// answer, so that a purge is tried.
func (s *Store) Unpurged() int {
	if s.enter() != nil {
		return 0
	}
	defer s.uses.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n, err := value[int64](ctx, s, "erasures to purge", `SELECT count(*) FROM $unpurged`)
	if err != nil {
		return 1
	}
	return int(n)
}
