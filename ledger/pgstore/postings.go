package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"muniment.dev/muniment/ledger/store"
)

// Postings implements store.Store.
func (s *Store) Postings(ctx context.Context, t store.Term) (store.Postings, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	return &postings{ctx: ctx, s: s, term: t}, nil
}

// postings is a list of which a window is in memory: all its indexes from low
// to high. It shows what is committed when it is asked.
type postings struct {
	ctx       context.Context
	s         *Store
	term      store.Term
	low, high uint64
	window    []uint64
	filled    bool

	once   sync.Once
	closed bool
}

var errListClosed = errors.New("the postings are closed")

// window is how many indexes are read at once.
const window = 256

// SeekGE implements store.Postings.
func (p *postings) SeekGE(i uint64) (uint64, bool, error) {
	if p.closed {
		return 0, false, errListClosed
	}
	if p.filled && p.low <= i && i <= p.high {
		if at, _ := slices.BinarySearch(p.window, i); at < len(p.window) {
			return p.window[at], true, nil
		} else if p.high == math.MaxUint64 {
			return 0, false, nil
		}
	}
	if i > math.MaxInt64 {
		return 0, false, nil
	}
	list, err := p.read(`SELECT term, index FROM $postings WHERE term = $1 AND index >= $2 ORDER BY index LIMIT $3`, int64(i))
	if err != nil {
		return 0, false, err
	}
	p.window, p.low, p.high, p.filled = list, i, math.MaxUint64, true
	if len(list) == window {
		p.high = list[len(list)-1]
	}
	if len(list) == 0 {
		return 0, false, nil
	}
	return list[0], true, nil
}

// SeekLE implements store.Postings.
func (p *postings) SeekLE(i uint64) (uint64, bool, error) {
	if p.closed {
		return 0, false, errListClosed
	}
	if p.filled && p.low <= i && i <= p.high {
		at, found := slices.BinarySearch(p.window, i)
		switch {
		case found:
			return i, true, nil
		case at > 0:
			return p.window[at-1], true, nil
		case p.low == 0:
			return 0, false, nil
		}
	}
	list, err := p.read(`SELECT term, index FROM $postings WHERE term = $1 AND index <= $2 ORDER BY index DESC LIMIT $3`, int64(min(i, math.MaxInt64)))
	if err != nil {
		return 0, false, err
	}
	slices.Reverse(list)
	p.window, p.low, p.high, p.filled = list, 0, i, true
	if len(list) == window {
		p.low = list[0]
	}
	if len(list) == 0 {
		return 0, false, nil
	}
	return list[len(list)-1], true, nil
}

func (p *postings) read(query string, from int64) (list []uint64, err error) {
	err = p.s.each(p.ctx, query, []any{p.term[:], from, window}, func(_ []byte, index int64) error {
		list = append(list, uint64(index))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("postings of %x: %w", p.term, err)
	}
	return list, nil
}

// Close implements store.Postings.
func (p *postings) Close() error {
	p.closed = true
	p.once.Do(p.s.uses.Done)
	return nil
}
