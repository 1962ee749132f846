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

// An opening is the header or the payload of an entry.
type opening struct {
	salt, content, large []byte
	size                 int64
}

// A storedRun is a row of opening_runs.
type storedRun struct {
	first             int64
	entries           int16
	headers, payloads []byte
	changes           int32
}

// covers reports whether the run has the entry.
func (r *storedRun) covers(index uint64) bool {
	return r.first >= 0 && uint64(r.first) <= index && index-uint64(r.first) < uint64(max(r.entries, 0))
}

// check returns an error if a row of an opening can't be right.
func (o *opening) check(what string, index uint64) error {
	if len(o.salt) != entry.HashSize {
		return fmt.Errorf("the salt of the %s of entry %d has %d bytes: %w", what, index, len(o.salt), store.ErrDamaged)
	}
	return nil
}

// Header implements store.Store.
func (s *Store) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	if index > math.MaxInt64 {
		return nil, fmt.Errorf("header of entry %d: %w", index, store.ErrNotFound)
	}
	headers, err := s.Headers(ctx, index, index+1)
	if err != nil {
		return nil, err
	}
	return headers[0], nil
}

var _ store.EntryOpenings = (*Store)(nil)

// EntryOpenings implements store.EntryOpenings. The openings of most entries
// are in one row.
func (s *Store) EntryOpenings(ctx context.Context, index uint64) (*receipt.HeaderOpening, *receipt.PayloadOpening, error) {
	h, p, err := s.openingsInRun(ctx, index)
	if err != nil {
		return nil, nil, fmt.Errorf("openings of entry %d: %w", index, err)
	}
	if h != nil {
		return h, p, nil
	}
	h, err = s.Header(ctx, index) // erased, or in a row of its own
	return h, nil, err
}

// openingsInRun returns those openings of an entry that are in a run.
func (s *Store) openingsInRun(ctx context.Context, index uint64) (h *receipt.HeaderOpening, p *receipt.PayloadOpening, err error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	defer s.uses.Done()
	r, err := s.runOf(ctx, index, "headers, payloads")
	if r == nil {
		return nil, nil, err
	}
	header, err := r.opening(headerColumn, r.headers, index)
	if header == nil {
		return nil, nil, err
	}
	// Who needs a damaged payload reads it again, and gets the error.
	if payload, err := r.opening(payloadColumn, r.payloads, index); err == nil && payload != nil {
		p = &receipt.PayloadOpening{Salt: entry.Salt(payload.salt), Content: payload.content}
	}
	return &receipt.HeaderOpening{Salt: entry.Salt(header.salt), Content: header.content}, p, nil
}

// runOf returns columns of the run with the openings of an entry, or nil if it
// is in none.
func (s *Store) runOf(ctx context.Context, index uint64, columns string) (*storedRun, error) {
	if index > math.MaxInt64 {
		return nil, nil
	}
	var r storedRun
	err := s.pool.QueryRow(ctx, s.sql(`SELECT first, entries, `+columns+` FROM $opening_runs WHERE first <= $1 ORDER BY first DESC LIMIT 1`), int64(index)).Scan(&r.first, &r.entries, &r.headers, &r.payloads)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, noAnswer(ctx, err)
	case !r.covers(index):
		return nil, nil
	}
	return &r, nil
}

// opening returns the opening of an entry in a column of the run, or nil if it
// is not in it.
func (r *storedRun) opening(kind byte, column []byte, index uint64) (*opening, error) {
	c, err := decodeColumn(kind, int(r.entries), column)
	if err != nil {
		return nil, err
	}
	return c.at(uint64(r.first), index)
}

var _ store.HeaderRanges = (*Store)(nil)

// Headers implements store.HeaderRanges.
func (s *Store) Headers(ctx context.Context, from, to uint64) ([]*receipt.HeaderOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	if from >= to {
		return nil, nil
	}
	h := &headers{from: from, out: make([]*receipt.HeaderOpening, to-from), there: make([]bool, to-from)}
	err := error(store.ErrNotFound)
	if to <= math.MaxInt64 {
		err = s.readHeaders(ctx, h)
	}
	if err != nil {
		return nil, fmt.Errorf("headers of entries %d to %d: %w", from, to-1, err)
	}
	return h.out, nil
}

// headers are those of a range of entries.
type headers struct {
	from  uint64
	out   []*receipt.HeaderOpening
	there []bool // the entry exists
}

func (h *headers) set(index uint64, o *opening) error {
	if err := o.check("header", index); err != nil {
		return err
	}
	h.out[index-h.from], h.there[index-h.from] = &receipt.HeaderOpening{Salt: entry.Salt(o.salt), Content: o.content}, true
	return nil
}

// missing reports whether there is an entry for which f is true.
func (h *headers) missing(f func(i int) bool) bool {
	for i := range h.out {
		if f(i) {
			return true
		}
	}
	return false
}

// readHeaders reads headers from runs, then those with rows of their own, and
// last asks which entries exist whose headers were erased.
func (s *Store) readHeaders(ctx context.Context, h *headers) error {
	from, to := int64(h.from), int64(h.from)+int64(len(h.out))
	if err := s.headersInRuns(ctx, h, from, to); err != nil {
		return err
	}
	if !h.missing(func(i int) bool { return h.out[i] == nil }) {
		return nil
	}
	const query = `SELECT index, salt, content FROM $headers WHERE index >= $1 AND index < $2`
	var index int64
	var o opening
	err := s.scan(ctx, s.pool, query, []any{from, to}, []any{&index, &o.salt, &o.content}, func() error { return h.set(uint64(index), &o) })
	if err != nil {
		return err
	}
	if !h.missing(func(i int) bool { return !h.there[i] }) {
		return nil
	}
	err = s.each(ctx, `SELECT NULL::bytea, index FROM $entries WHERE index >= $1 AND index < $2`, []any{from, to}, func(_ []byte, index int64) error {
		h.there[uint64(index)-h.from] = true
		return nil
	})
	if err == nil && h.missing(func(i int) bool { return !h.there[i] }) {
		err = store.ErrNotFound
	}
	return err
}

func (s *Store) headersInRuns(ctx context.Context, h *headers, from, to int64) error {
	const query = `SELECT first, entries, headers FROM $opening_runs WHERE first < $2
		AND first >= coalesce((SELECT max(first) FROM $opening_runs WHERE first <= $1), $1)`
	var r storedRun
	return s.scan(ctx, s.pool, query, []any{from, to}, []any{&r.first, &r.entries, &r.headers}, func() error {
		c, err := decodeColumn(headerColumn, int(r.entries), r.headers)
		if err != nil {
			return err
		}
		for index := max(from, r.first); index < min(to, r.first+int64(r.entries)); index++ {
			h.there[index-from] = true
			o, err := c.at(uint64(r.first), uint64(index))
			if err != nil {
				return err
			}
			if o != nil {
				if err := h.set(uint64(index), o); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// payload returns the payload of an entry, or nil if it was erased. Without
// content, only its salt and size are set if it has a row of its own.
func (s *Store) payload(ctx context.Context, index uint64, content bool) (*opening, error) {
	if index > math.MaxInt64 {
		return nil, fmt.Errorf("payload of entry %d: %w", index, store.ErrNotFound)
	}
	o, err := s.findPayload(ctx, index, content)
	if err == nil && o != nil {
		err = o.check("payload", index)
	}
	if err != nil {
		return nil, fmt.Errorf("payload of entry %d: %w", index, err)
	}
	return o, nil
}

func (s *Store) findPayload(ctx context.Context, index uint64, content bool) (*opening, error) {
	r, err := s.runOf(ctx, index, "NULL::bytea, payloads")
	if err != nil {
		return nil, err
	}
	if r != nil {
		if o, err := r.opening(payloadColumn, r.payloads, index); o != nil || err != nil {
			return o, err
		}
	}
	columns := "salt, NULL::bytea, NULL::bytea, size"
	if content {
		columns = "salt, content, large, size"
	}
	var o opening
	var size *int64
	err = s.pool.QueryRow(ctx, s.sql(`SELECT `+columns+` FROM (SELECT $1::bigint AS index) AS q LEFT JOIN $payloads USING (index)
		WHERE $2 OR EXISTS (SELECT FROM $entries e WHERE e.index = $1)`), int64(index), r != nil).Scan(&o.salt, &o.content, &o.large, &size)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, store.ErrNotFound
	case err != nil:
		return nil, noAnswer(ctx, err)
	case size == nil:
		return nil, nil
	}
	o.size = *size
	if content && o.large == nil && int64(len(o.content)) != o.size {
		return nil, fmt.Errorf("it has %d bytes of %d: %w", len(o.content), o.size, store.ErrDamaged)
	}
	return &o, nil
}

// Payload implements store.Store.
func (s *Store) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	o, err := s.payload(ctx, index, true)
	if o == nil {
		return nil, err
	}
	return &receipt.PayloadOpening{Salt: entry.Salt(o.salt), Content: o.content}, nil
}

// PayloadInfo implements store.Store.
func (s *Store) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	if err := s.enter(); err != nil {
		return store.PayloadInfo{}, err
	}
	defer s.uses.Done()
	o, err := s.payload(ctx, index, false)
	if o == nil {
		return store.PayloadInfo{Erased: err == nil}, err
	}
	return store.PayloadInfo{Salt: entry.Salt(o.salt), Size: uint64(o.size)}, nil
}
