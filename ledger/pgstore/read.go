package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// one reads a row with one value. what is the thing that ErrNotFound is about.
func one[T any](ctx context.Context, s *Store, what, query string, args ...any) (v T, err error) {
	if err := s.enter(); err != nil {
		return v, err
	}
	defer s.uses.Done()
	return value[T](ctx, s, what, query, args...)
}

// value is one within a use of the store.
func value[T any](ctx context.Context, s *Store, what, query string, args ...any) (v T, err error) {
	err = s.row(ctx, what, query, args, &v)
	return v, err
}

// row reads the values of one row.
func (s *Store) row(ctx context.Context, what, query string, args []any, to ...any) error {
	err := noAnswer(ctx, s.pool.QueryRow(ctx, s.sql(query), args...).Scan(to...))
	if errors.Is(err, pgx.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// noAnswer adds store.ErrNoAnswer to the error of a query that may succeed if
// it is sent again, unless its caller has gone.
func noAnswer(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil || errors.Is(err, pgx.ErrNoRows) || !again(err) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrNoAnswer, err)
}

// Tile implements store.Store.
func (s *Store) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	what := fmt.Sprintf("tile %d of level %d", index, level)
	if index > math.MaxInt64 {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	b, err := one[[]byte](ctx, s, what, `SELECT hashes FROM $tiles WHERE level = $1 AND index = $2`, int16(level), int64(index))
	if err != nil {
		return nil, err
	}
	if len(b) != store.TileHashes*entry.HashSize {
		return nil, fmt.Errorf("%s has %d bytes: %w", what, len(b), store.ErrDamaged)
	}
	hashes := make([]entry.Hash, store.TileHashes)
	for i := range hashes {
		copy(hashes[i][:], b[i*entry.HashSize:])
	}
	return hashes, nil
}

// Skeletons implements store.Store.
func (s *Store) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	what := fmt.Sprintf("skeletons from %d to %d", from, to)
	if to > math.MaxInt64 {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	if to == from+1 {
		k, err := s.skeletonInRun(ctx, from)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		if k != nil {
			return []entry.Skeleton{*k}, nil
		}
	}
	var out []entry.Skeleton
	add := func(b []byte) error {
		k, err := decodeSkeleton(b)
		out = append(out, k)
		return err
	}
	// Rows of their own are those of commits before the first run.
	next := from
	err := s.eachRun(ctx, from, to, func(b []byte, first int64) error {
		if len(b) == 0 || len(b)%skeletonSize != 0 {
			return fmt.Errorf("a run of skeletons has %d bytes: %w", len(b), store.ErrDamaged)
		}
		end := uint64(first) + uint64(len(b)/skeletonSize)
		if uint64(first) > next && next == from {
			if err := s.skeletonRows(ctx, from, uint64(first), add); err != nil {
				return err
			}
			next = uint64(first)
		}
		if uint64(first) > next {
			return store.ErrNotFound
		}
		for ; next < min(end, to); next++ {
			at := int(next-uint64(first)) * skeletonSize
			if err := add(b[at : at+skeletonSize]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && next == from && from < to {
		err = s.skeletonRows(ctx, from, to, add)
		next = to
	}
	if err == nil && next < to {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// skeletonInRun returns the skeleton of an entry, or nil if it is in no run.
// The skeletons of its run are kept in memory. They never change, once the
// commit is known to survive a failover.
func (s *Store) skeletonInRun(ctx context.Context, index uint64) (*entry.Skeleton, error) {
	if k, ok := s.skeletons.GetIfPresent(index); ok {
		return &k, nil
	}
	survives := s.survives() // before a database is asked that may be lost
	var first int64
	var run []byte
	err := s.pool.QueryRow(ctx, s.sql(`SELECT first, content FROM $skeleton_runs WHERE first <= $1 ORDER BY first DESC LIMIT 1`), int64(index)).Scan(&first, &run)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	all := make([]entry.Skeleton, len(run)/skeletonSize)
	for i := range all {
		if all[i], err = decodeSkeleton(run[i*skeletonSize : (i+1)*skeletonSize]); err != nil {
			return nil, err
		}
	}
	at := index - uint64(first)
	if len(run)%skeletonSize != 0 || at >= uint64(len(all)) {
		return nil, nil // the other way finds what is wrong
	}
	if uint64(first)+uint64(len(all)) <= survives {
		for i := range all {
			s.skeletons.Set(uint64(first)+uint64(i), all[i])
		}
	}
	return &all[at], nil
}

// survives returns the size of a log that is known to be durable.
func (s *Store) survives() uint64 {
	if s.single {
		return math.MaxUint64
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmed
}

// eachRun calls f for the runs of skeletons with entries from ≤ index < to.
func (s *Store) eachRun(ctx context.Context, from, to uint64, f func([]byte, int64) error) error {
	type run struct {
		first   int64
		content []byte
	}
	var runs []run
	err := s.each(ctx, `SELECT content, first FROM $skeleton_runs WHERE first < $2
		AND first >= coalesce((SELECT max(first) FROM $skeleton_runs WHERE first <= $1), $1) ORDER BY first`, []any{int64(from), int64(to)}, func(b []byte, first int64) error {
		if uint64(first)+uint64(len(b)/skeletonSize) > from { // not the end of a run before a gap
			runs = append(runs, run{first, b})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range runs {
		if err := f(r.content, r.first); err != nil {
			return err
		}
	}
	return nil
}

// skeletonRows calls f for the skeletons that have rows of their own.
func (s *Store) skeletonRows(ctx context.Context, from, to uint64, f func([]byte) error) error {
	return s.rows(ctx, `SELECT skeleton, index FROM $entries WHERE index >= $1 AND index < $2 ORDER BY index`, from, to, f)
}

// Leaves implements store.Store.
func (s *Store) Leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	var out [][]byte
	err := s.span(ctx, "leaves", `SELECT data, index FROM $leaves WHERE index >= $1 AND index < $2 ORDER BY index`, from, to, func(b []byte) error {
		out = append(out, b)
		return nil
	})
	return out, err
}

// span calls f for each row of a range of indexes, and returns ErrNotFound if
// one is missing.
func (s *Store) span(ctx context.Context, what, query string, from, to uint64, f func([]byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	what = fmt.Sprintf("%s from %d to %d", what, from, to)
	if to > math.MaxInt64 {
		return fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	if err := s.rows(ctx, query, from, to, f); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// rows is span within a use of the store.
func (s *Store) rows(ctx context.Context, query string, from, to uint64, f func([]byte) error) error {
	next := from
	err := s.each(ctx, query, []any{int64(from), int64(to)}, func(b []byte, index int64) error {
		if uint64(index) != next {
			return store.ErrNotFound
		}
		next++
		return f(b)
	})
	if err == nil && next < to {
		err = store.ErrNotFound
	}
	return err
}

// Checkpoint implements store.Store.
func (s *Store) Checkpoint(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	return s.checkpoint(ctx, fmt.Sprintf("checkpoint of size %d or more", minSize), `SELECT size, signed FROM $checkpoints WHERE size >= $1 ORDER BY size LIMIT 1`, minSize)
}

// Cosigned implements store.Store.
func (s *Store) Cosigned(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	return s.checkpoint(ctx, fmt.Sprintf("cosigned checkpoint of size %d or more", minSize), `SELECT size, signed FROM $cosigned WHERE size >= $1 ORDER BY size LIMIT 1`, minSize)
}

// LastCosigned implements store.Store.
func (s *Store) LastCosigned(ctx context.Context) (*store.Checkpoint, error) {
	return s.checkpoint(ctx, "last cosigned checkpoint", `SELECT size, signed FROM $cosigned WHERE size >= $1 ORDER BY size DESC LIMIT 1`, 0)
}

func (s *Store) checkpoint(ctx context.Context, what, query string, minSize uint64) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	if minSize > math.MaxInt64 {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var size int64
	c := &store.Checkpoint{}
	if err := s.row(ctx, what, query, []any{int64(minSize)}, &size, &c.Signed); err != nil {
		return nil, err
	}
	c.Size = uint64(size)
	return c, nil
}

// KeepCosigned implements store.Store.
func (s *Store) KeepCosigned(ctx context.Context, c *store.Checkpoint, instead uint64) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	b := &pgx.Batch{}
	b.Queue(s.sql(`DELETE FROM $cosigned WHERE size = $1`), int64(instead))
	b.Queue(s.sql(`INSERT INTO $cosigned (size, signed) VALUES ($1, $2) ON CONFLICT (size) DO UPDATE SET signed = excluded.signed`), int64(c.Size), c.Signed)
	if err := s.send(ctx, b); err != nil {
		return fmt.Errorf("keep a cosigned checkpoint: %w", err)
	}
	return nil
}
