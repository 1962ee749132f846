package store

import (
	"context"

	"muniment.dev/muniment/ledger/receipt"
)

// HeaderRanges is implemented by stores to which each read is a round trip.
type HeaderRanges interface {
	// Headers returns the header openings of the entries from ≤ index < to in
	// order, nil for those that were erased, or ErrNotFound if there is no such
	// entry.
	Headers(ctx context.Context, from, to uint64) ([]*receipt.HeaderOpening, error)
}

// Headers returns the header openings of the entries from ≤ index < to, as
// HeaderRanges does, from any store.
func Headers(ctx context.Context, s Openings, from, to uint64) ([]*receipt.HeaderOpening, error) {
	if r, ok := s.(HeaderRanges); ok {
		return r.Headers(ctx, from, to)
	}
	var out []*receipt.HeaderOpening
	for i := from; i < to; i++ {
		h, err := s.Header(ctx, i)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// EntryOpenings is implemented by stores that read both openings of an entry
// for little more than one of them.
type EntryOpenings interface {
	// EntryOpenings returns what Header does, and the payload, which is nil if
	// it was erased or takes another read.
	EntryOpenings(ctx context.Context, index uint64) (*receipt.HeaderOpening, *receipt.PayloadOpening, error)
}

// OpeningsOf returns the header opening of an entry, and its payload opening if
// the store reads that with it.
func OpeningsOf(ctx context.Context, s Openings, index uint64) (*receipt.HeaderOpening, *receipt.PayloadOpening, error) {
	if r, ok := s.(EntryOpenings); ok {
		return r.EntryOpenings(ctx, index)
	}
	h, err := s.Header(ctx, index)
	return h, nil, err
}
