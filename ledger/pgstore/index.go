package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

func (s *Store) queueProjections(b *pgx.Batch, keys []store.KeyAt, postings []store.PostingAt, facts []store.FactsAt) {
	if n := len(keys); n > 0 {
		names, indexes := make([][]byte, n), make([]int64, n)
		for i := range keys {
			names[i], indexes[i] = keys[i].Key[:], int64(keys[i].Index)
		}
		b.Queue(s.sql(`INSERT INTO $keys (key, index) SELECT * FROM unnest($1::bytea[], $2::bigint[])`), names, indexes)
	}
	if n := len(postings); n > 0 {
		names, indexes := make([][]byte, n), make([]int64, n)
		for i := range postings {
			names[i], indexes[i] = postings[i].Term[:], int64(postings[i].Index)
		}
		b.Queue(s.sql(`INSERT INTO $postings (term, index) SELECT * FROM unnest($1::bytea[], $2::bigint[])`), names, indexes)
	}
	if n := len(facts); n > 0 {
		indexes, values := make([]int64, n), make([][]byte, n)
		for i := range facts {
			indexes[i], values[i] = int64(facts[i].Index), facts[i].Facts
		}
		b.Queue(s.sql(`INSERT INTO $facts (index, facts) SELECT * FROM unnest($1::bigint[], $2::bytea[])`), indexes, values)
	}
}

func (s *Store) queueHeads(b *pgx.Batch, heads []store.StreamHead) {
	n := len(heads)
	if n == 0 {
		return
	}
	streams, next, last := make([][]byte, n), make([]int64, n), make([][]byte, n)
	for i := range heads {
		streams[i], next[i], last[i] = heads[i].StreamID[:], int64(heads[i].Next), heads[i].Last[:]
	}
	b.Queue(s.sql(`INSERT INTO $heads (stream, next, last) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])
		ON CONFLICT (stream) DO UPDATE SET next = excluded.next, last = excluded.last`), streams, next, last)
}

// StreamHeads implements store.Store.
func (s *Store) StreamHeads(ctx context.Context) ([]store.StreamHead, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	rows, err := s.pool.Query(ctx, s.sql(`SELECT stream, next, last FROM $heads`))
	if err != nil {
		return nil, fmt.Errorf("stream heads: %w", err)
	}
	var stream, last []byte
	var next int64
	var heads []store.StreamHead
	_, err = pgx.ForEachRow(rows, []any{&stream, &next, &last}, func() error {
		h := store.StreamHead{Next: uint64(next)}
		if len(stream) != entry.HashSize || len(last) != entry.HashSize {
			return fmt.Errorf("a stream has an ID of %d bytes and a hash of %d: %w", len(stream), len(last), store.ErrDamaged)
		}
		copy(h.StreamID[:], stream)
		copy(h.Last[:], last)
		heads = append(heads, h)
		return nil
	})
	if err != nil {
		return heads, fmt.Errorf("stream heads: %w", err)
	}
	return heads, nil
}

// Lookup implements store.Store.
func (s *Store) Lookup(ctx context.Context, k store.Key) (uint64, error) {
	index, err := one[int64](ctx, s, fmt.Sprintf("key %x", k), `SELECT index FROM $keys WHERE key = $1`, k[:])
	return uint64(index), err
}

// Facts implements store.Store.
func (s *Store) Facts(ctx context.Context, index uint64) ([]byte, error) {
	if index > math.MaxInt64 {
		return nil, fmt.Errorf("facts of entry %d: %w", index, store.ErrNotFound)
	}
	return one[[]byte](ctx, s, fmt.Sprintf("facts of entry %d", index), `SELECT facts FROM $facts WHERE index = $1`, int64(index))
}

// Projections implements store.Store. It reads a page at a time, so that no
// connection is held while the caller is at work.
func (s *Store) Projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		if err := s.enter(); err != nil {
			yield(store.Projection{}, err)
			return
		}
		defer s.uses.Done()
		for _, all := range []func(context.Context, func(store.Projection) bool) (bool, error){s.allKeys, s.allPostings, s.allFacts} {
			more, err := all(ctx, func(p store.Projection) bool { return yield(p, nil) })
			if err != nil {
				yield(store.Projection{}, fmt.Errorf("projections: %w", err))
				return
			}
			if !more {
				return
			}
		}
	}
}

// page is the number of rows that are read or written at once.
const page = 4096

// someFacts is page for facts, which can be large.
const someFacts = 256

// paged calls yield with all items, and returns false if yield does. read
// returns the page after an item, or the first one after nil.
func paged[T any](size int, read func(after *T) ([]T, error), yield func(*T) bool) (bool, error) {
	var last *T
	for {
		items, err := read(last)
		if err != nil {
			return false, err
		}
		for i := range items {
			if !yield(&items[i]) {
				return false, nil
			}
		}
		if len(items) < size {
			return true, nil
		}
		last = &items[len(items)-1]
	}
}

func (s *Store) allKeys(ctx context.Context, yield func(store.Projection) bool) (bool, error) {
	return paged(page, func(last *store.KeyAt) (keys []store.KeyAt, err error) {
		after := []byte{}
		if last != nil {
			after = last.Key[:]
		}
		err = s.each(ctx, `SELECT key, index FROM $keys WHERE key > $1 ORDER BY key LIMIT $2`, []any{after, page}, func(key []byte, index int64) error {
			if len(key) != len(store.Key{}) {
				return fmt.Errorf("a key has %d bytes: %w", len(key), store.ErrDamaged)
			}
			keys = append(keys, store.KeyAt{Key: store.Key(key), Index: uint64(index)})
			return nil
		})
		return keys, err
	}, func(k *store.KeyAt) bool { return yield(store.Projection{Key: k}) })
}

// allPostings merges the postings that have rows of their own with the lists.
func (s *Store) allPostings(ctx context.Context, yield func(store.Projection) bool) (bool, error) {
	next, stop := iter.Pull2(s.listed(ctx))
	defer stop()
	in, err, more := next()
	goOn, failed := s.singlePostings(ctx, func(p store.Projection) bool {
		for ; more && err == nil && comparePostings(&in, p.Posting) < 0; in, err, more = next() {
			if !yield(store.Projection{Posting: &in}) {
				return false
			}
		}
		return err == nil && yield(p)
	})
	if failed != nil || err != nil || !goOn {
		return false, errors.Join(failed, err)
	}
	for ; more; in, err, more = next() {
		if err != nil {
			return false, err
		}
		if !yield(store.Projection{Posting: &in}) {
			return false, nil
		}
	}
	return true, nil
}

func comparePostings(a, b *store.PostingAt) int {
	return cmp.Or(bytes.Compare(a.Term[:], b.Term[:]), cmp.Compare(a.Index, b.Index))
}

// someLists is page for lists.
const someLists = 256

// listed yields the postings in all lists.
func (s *Store) listed(ctx context.Context) iter.Seq2[store.PostingAt, error] {
	type row struct {
		term store.Term
		postingList
	}
	return func(yield func(store.PostingAt, error) bool) {
		_, err := paged(someLists, func(last *row) (page []row, err error) {
			term, first := []byte{}, int64(-1)
			if last != nil {
				term, first = last.term[:], last.first
			}
			const query = `SELECT term, first, offsets FROM $posting_lists WHERE (term, first) > ($1, $2) ORDER BY term, first LIMIT $3`
			var r row
			err = s.scan(ctx, s.pool, query, []any{term, first, someLists}, []any{&term, &r.first, &r.offsets}, func() error {
				if len(term) != len(store.Term{}) {
					return fmt.Errorf("a term has %d bytes: %w", len(term), store.ErrDamaged)
				}
				r.term = store.Term(term)
				page = append(page, r)
				r.offsets = nil
				return nil
			})
			return page, err
		}, func(r *row) bool {
			indexes, err := r.indexes()
			if err != nil {
				return yield(store.PostingAt{}, err)
			}
			for _, index := range indexes {
				if !yield(store.PostingAt{Term: r.term, Index: index}, nil) {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield(store.PostingAt{}, err)
		}
	}
}

func (s *Store) singlePostings(ctx context.Context, yield func(store.Projection) bool) (bool, error) {
	return paged(page, func(last *store.PostingAt) (postings []store.PostingAt, err error) {
		term, index := []byte{}, int64(-1)
		if last != nil {
			term, index = last.Term[:], int64(last.Index)
		}
		err = s.each(ctx, `SELECT term, index FROM $postings WHERE (term, index) > ($1, $2) ORDER BY term, index LIMIT $3`, []any{term, index, page}, func(term []byte, index int64) error {
			if len(term) != len(store.Term{}) {
				return fmt.Errorf("a term has %d bytes: %w", len(term), store.ErrDamaged)
			}
			postings = append(postings, store.PostingAt{Term: store.Term(term), Index: uint64(index)})
			return nil
		})
		return postings, err
	}, func(p *store.PostingAt) bool { return yield(store.Projection{Posting: p}) })
}

func (s *Store) allFacts(ctx context.Context, yield func(store.Projection) bool) (bool, error) {
	return paged(someFacts, func(last *store.FactsAt) (facts []store.FactsAt, err error) {
		after := int64(-1)
		if last != nil {
			after = int64(last.Index)
		}
		err = s.each(ctx, `SELECT facts, index FROM $facts WHERE index > $1 ORDER BY index LIMIT $2`, []any{after, someFacts}, func(f []byte, index int64) error {
			facts = append(facts, store.FactsAt{Index: uint64(index), Facts: f})
			return nil
		})
		return facts, err
	}, func(f *store.FactsAt) bool { return yield(store.Projection{Facts: f}) })
}

// each calls f for each row of bytes and a number. The bytes are the callee's.
func (s *Store) each(ctx context.Context, query string, args []any, f func([]byte, int64) error) error {
	var data []byte
	var n int64
	return s.scan(ctx, s.pool, query, args, []any{&data, &n}, func() error { return f(data, n) })
}

// scan calls f for each row, whose values are then in what into points to. Its
// error is that of f, or that of the query with store.ErrNoAnswer if it may
// succeed later: what f finds in the rows never looks like an outage.
func (s *Store) scan(ctx context.Context, q querier, query string, args, into []any, f func() error) error {
	rows, err := q.Query(ctx, s.sql(query), args...)
	if err != nil {
		return noAnswer(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
	}
	return noAnswer(ctx, rows.Err())
}

// ReplaceProjections implements store.Store. It is one transaction, which keeps
// other writers out.
func (s *Store) ReplaceProjections(ctx context.Context, p iter.Seq2[store.Projection, error], heads []store.StreamHead) error {
	err := s.alone(ctx, func(tx pgx.Tx, _ uint64) error {
		for _, table := range []string{"$keys", "$postings", "$posting_lists", "$facts", "$heads"} {
			if _, err := tx.Exec(ctx, s.sql("DELETE FROM "+table)); err != nil {
				return err
			}
		}
		var keys []store.KeyAt
		var postings []store.PostingAt
		var facts []store.FactsAt
		write := func() error {
			b := &pgx.Batch{}
			s.queueProjections(b, keys, postings, facts)
			keys, postings, facts = keys[:0], postings[:0], facts[:0]
			return tx.SendBatch(ctx, b).Close()
		}
		n, bytes := 0, 0
		for v, err := range p {
			switch {
			case err != nil:
				return err
			case v.Key != nil:
				keys = append(keys, *v.Key)
			case v.Posting != nil:
				postings = append(postings, *v.Posting)
			case v.Facts != nil:
				f := append([]byte{}, v.Facts.Facts...)
				facts, bytes = append(facts, store.FactsAt{Index: v.Facts.Index, Facts: f}), bytes+len(f)
			}
			if n++; n == page || bytes > 4<<20 {
				if err := write(); err != nil {
					return err
				}
				n, bytes = 0, 0
			}
		}
		if err := write(); err != nil {
			return err
		}
		if err := s.packPostings(ctx, tx); err != nil {
			return err
		}
		b := &pgx.Batch{}
		s.queueHeads(b, heads)
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("replace the projections: %w", err)
	}
	return nil
}

// ReplaceTiles implements store.Store.
func (s *Store) ReplaceTiles(ctx context.Context, tiles []store.Tile) error {
	err := s.alone(ctx, func(tx pgx.Tx, _ uint64) error {
		b := &pgx.Batch{}
		for _, t := range tiles {
			b.Queue(s.sql(`INSERT INTO $tiles (level, index, hashes) VALUES ($1, $2, $3) ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes`),
				int16(t.Level), int64(t.Index), bytes.Join(entry.ByteSlices(t.Hashes), nil))
		}
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return fmt.Errorf("replace tiles: %w", err)
	}
	return nil
}

// alone runs f in a transaction during which no server can commit, and gives it
// the size of the log. A commit refers to its predecessor, whose row is locked.
func (s *Store) alone(ctx context.Context, f func(tx pgx.Tx, size uint64) error) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.transact(ctx, func(conn *pgxpool.Conn) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			size, err := s.lockEnd(ctx, tx)
			if err != nil {
				return err
			}
			return f(tx, size)
		})
	})
}

// lockEnd locks the last commit, and returns the size of the log.
func (s *Store) lockEnd(ctx context.Context, tx pgx.Tx) (uint64, error) {
	// The first commit has no predecessor, but an empty log has nothing that
	// could be replaced.
	for {
		var size, last int64
		query := s.sql(`SELECT size FROM $commits ORDER BY first DESC LIMIT 1`)
		switch err := tx.QueryRow(ctx, query+" FOR UPDATE").Scan(&size); {
		case errors.Is(err, pgx.ErrNoRows):
			return 0, nil
		case err != nil:
			return 0, err
		}
		if err := tx.QueryRow(ctx, query).Scan(&last); err != nil {
			return 0, err
		}
		if last == size {
			return uint64(size), nil
		}
	}
}
