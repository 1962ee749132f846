package pebblestore

import (
	"context"
	"fmt"
	"math"
	"slices"

	"muniment.dev/muniment/ledger/store"
)

// Postings implements store.Store. The list does not show commits made after it
// was opened.
func (s *Store) Postings(ctx context.Context, t store.Term) (store.Postings, error) {
	if err := s.enter(); err != nil { // left by Close of the list
		return nil, err
	}
	p := &postings{s: s, term: t}
	// The bounds are keys of the term itself, so no term's neighbour can show,
	// whatever its bytes.
	var lower, upper [postingKeySize]byte
	putPostingKey(lower[:], &t, 0)
	putPostingKey(upper[:], &t, math.MaxUint64) // no entry has this index
	it, err := s.iteratorOn(ctx, lower[:], upper[:])
	if err != nil {
		s.uses.Done()
		return nil, fmt.Errorf("postings of %x: %w", t, err)
	}
	p.it = it
	return p, nil
}

// postings is a list that lies in rows which don't overlap. It implements
// store.Postings.
type postings struct {
	s    *Store
	term store.Term
	it   iterator // its Iterator is nil when closed
	// the indexes of the row that the iterator is on; seeks near the last one
	// need no other
	row []uint64
}

// SeekGE implements store.Postings.
func (p *postings) SeekGE(i uint64) (uint64, bool, error) {
	ok, err := p.seek(i)
	if err != nil {
		return 0, false, err
	}
	if ok {
		if at, _ := slices.BinarySearch(p.row, i); at < len(p.row) {
			return p.row[at], true, nil
		}
		ok = p.it.Next()
	} else {
		ok = p.it.First()
	}
	if ok, err = p.read(ok); !ok {
		return 0, false, err
	}
	return p.row[0], true, nil
}

// SeekLE implements store.Postings.
func (p *postings) SeekLE(i uint64) (uint64, bool, error) {
	if ok, err := p.seek(i); !ok {
		return 0, false, err
	}
	at, found := slices.BinarySearch(p.row, i)
	if !found {
		at-- // the row begins at i or before
	}
	return p.row[at], true, nil
}

// seek reads the last row that begins at i or before. It returns false if there
// is none.
func (p *postings) seek(i uint64) (bool, error) {
	if p.it.Iterator == nil {
		return false, p.wrap(errClosed)
	}
	if len(p.row) > 0 && p.row[0] <= i && i <= p.row[len(p.row)-1] {
		return true, nil
	}
	if i == math.MaxUint64 {
		return p.read(p.it.Last())
	}
	var key [postingKeySize]byte
	putPostingKey(key[:], &p.term, i+1)
	return p.read(p.it.SeekLT(key[:]))
}

// read decodes the row that the iterator has moved to.
func (p *postings) read(ok bool) (bool, error) {
	p.row = p.row[:0]
	if !ok {
		return false, p.wrap(p.it.Error())
	}
	v, err := p.it.ValueAndErr()
	if err != nil {
		return false, p.wrap(err)
	}
	if p.row, err = decodePostings(p.row, p.it.Key(), v); err != nil {
		p.row = p.row[:0]
		return false, p.wrap(err)
	}
	return true, nil
}

func (p *postings) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("postings of %x: %w", p.term, err)
}

// Close implements store.Postings. It may be called again.
func (p *postings) Close() error {
	if p.it.Iterator == nil {
		return nil
	}
	err := p.it.Close()
	p.it = iterator{}
	p.s.uses.Done()
	return p.wrap(err)
}
