package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// Facts are a projection of an entry's header and payload, which package
// ingest extracts and this package stores as bytes. A draft has them with it.
// They are derived again by reindex, fsck and the import of deltas.

// A Derive returns the facts of an entry, or nil if it has none. payload
// returns the payload's content, and is called only if the facts depend on it.
// Derive is a function of the header and the payload.
type Derive func(ctx context.Context, h *entry.Header, payload func() ([]byte, error)) ([]byte, error)

// Facts returns the facts of an entry, or nil if it has none or its payload was
// erased. The error is ErrDamaged if they are not those that were stored for
// the entry.
func (l *Ledger) Facts(ctx context.Context, e *Entry) ([]byte, error) {
	row, err := l.store.Facts(ctx, e.Index)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	facts, ok := openFacts(e.Skeleton.HeaderHash, row)
	if !ok {
		return nil, fmt.Errorf("facts of entry %d: %w: they are not those of its header: run muniment reindex", e.Index, ErrDamaged)
	}
	return facts, nil
}

// sealFacts returns the row with the facts. It begins with a hash that binds
// the facts to the entry, so that a reader detects another entry's row.
func sealFacts(header entry.Hash, facts []byte) []byte {
	seal := factsSeal(header, facts)
	return append(append(make([]byte, 0, len(seal)+len(facts)), seal[:]...), facts...)
}

func openFacts(header entry.Hash, row []byte) (facts []byte, ok bool) {
	if len(row) < entry.HashSize {
		return nil, false
	}
	facts = row[entry.HashSize:]
	return facts, factsSeal(header, facts) == entry.Hash(row[:entry.HashSize])
}

func factsSeal(header entry.Hash, facts []byte) entry.Hash {
	h := sha256.New()
	io.WriteString(h, "muniment/facts/v1\n")
	h.Write(header[:])
	h.Write(facts)
	return entry.Hash(h.Sum(nil))
}

// row returns the row with the facts of an entry, or nil if it has none. The
// payload must match the header.
func (d Derive) row(ctx context.Context, header entry.Hash, h *entry.Header, payload func() ([]byte, error)) ([]byte, error) {
	if d == nil {
		return nil, nil
	}
	facts, err := d(ctx, h, payload)
	if facts == nil || err != nil {
		return nil, err
	}
	return sealFacts(header, facts), nil
}

// stored is row for an entry in a store whose payload is not erased.
func (d Derive) stored(ctx context.Context, s store.Openings, index uint64, header entry.Hash, h *entry.Header) ([]byte, error) {
	return d.row(ctx, header, h, func() ([]byte, error) {
		p, err := s.OpenPayload(ctx, index)
		if err != nil {
			return nil, err
		}
		if p == nil {
			return nil, fmt.Errorf("its payload was %w meanwhile", ErrErased)
		}
		return readWhole(p, p.Size)
	})
}

// readWhole reads a payload of a known size, and closes it.
func readWhole(r io.ReadCloser, size uint64) ([]byte, error) {
	content := make([]byte, size)
	_, err := io.ReadFull(r, content)
	return content, errors.Join(err, r.Close())
}
