package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
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
	var out []entry.Skeleton
	err := s.span(ctx, "skeletons", `SELECT skeleton, index FROM $entries WHERE index >= $1 AND index < $2 ORDER BY index`, from, to, func(b []byte) error {
		k, err := decodeSkeleton(b)
		out = append(out, k)
		return err
	})
	return out, err
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
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
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

// opening reads a row of an entry, or returns nil if it was erased.
func (s *Store) opening(ctx context.Context, what, query string, index uint64) (*opening, error) {
	what = fmt.Sprintf("%s of entry %d", what, index)
	if index > math.MaxInt64 {
		return nil, fmt.Errorf("%s: %w", what, store.ErrNotFound)
	}
	var o opening
	var size *int64
	if err := s.row(ctx, what, query, []any{int64(index)}, &o.salt, &o.content, &o.large, &size); err != nil {
		return nil, err
	}
	if o.salt == nil {
		return nil, nil
	}
	if len(o.salt) != len(entry.Salt{}) {
		return nil, fmt.Errorf("the salt of the %s has %d bytes: %w", what, len(o.salt), store.ErrDamaged)
	}
	if size != nil {
		o.size = *size
	}
	return &o, nil
}

// Header implements store.Store.
func (s *Store) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	o, err := s.opening(ctx, "header", `SELECT salt, content, NULL::bytea, NULL::bigint FROM $entries LEFT JOIN $headers USING (index) WHERE index = $1`, index)
	if o == nil {
		return nil, err
	}
	return &receipt.HeaderOpening{Salt: entry.Salt(o.salt), Content: o.content}, nil
}

const payloadQuery = `FROM $entries LEFT JOIN $payloads USING (index) WHERE index = $1`

// Payload implements store.Store.
func (s *Store) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	o, err := s.opening(ctx, "payload", `SELECT salt, content, large, size `+payloadQuery, index)
	if o == nil {
		return nil, err
	}
	if o.large == nil && int64(len(o.content)) != o.size {
		return nil, fmt.Errorf("the payload of entry %d has %d bytes of %d: %w", index, len(o.content), o.size, store.ErrDamaged)
	}
	return &receipt.PayloadOpening{Salt: entry.Salt(o.salt), Content: o.content}, nil
}

// PayloadInfo implements store.Store.
func (s *Store) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	if err := s.enter(); err != nil {
		return store.PayloadInfo{}, err
	}
	defer s.uses.Done()
	o, err := s.opening(ctx, "payload", `SELECT salt, NULL::bytea, NULL::bytea, size `+payloadQuery, index)
	if o == nil {
		return store.PayloadInfo{Erased: err == nil}, err
	}
	return store.PayloadInfo{Salt: entry.Salt(o.salt), Size: uint64(o.size)}, nil
}

// An opening is the row of a header or a payload.
type opening struct {
	salt, content, large []byte
	size                 int64
}
