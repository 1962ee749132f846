package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/store"
)

// queueErasures deletes the openings and projections of entries. The parts and
// objects of large payloads stay until Purge, because a reader may be at them.
func (s *Store) queueErasures(b *pgx.Batch, erasures []store.Erasure) {
	if len(erasures) == 0 {
		return
	}
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
	}
}

// Erase implements store.Store.
func (s *Store) Erase(ctx context.Context, erasures []store.Erasure) error {
	err := s.alone(ctx, func(tx pgx.Tx, size uint64) error {
		if err := store.CheckErasures(erasures, size); err != nil {
			return err
		}
		b := &pgx.Batch{}
		s.queueErasures(b, erasures)
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
	for _, table := range []string{"$payloads", "$large_parts", "$objects", "$headers", "$facts", "$keys", "$postings"} {
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
