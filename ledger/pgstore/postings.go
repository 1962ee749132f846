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

const (
	// window is how many postings with rows of their own are read at once.
	window = 256
	// listWindow is how many lists are read at once. With two or more, some
	// index is found if there is one.
	listWindow = 16
)

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
	found, singles, lists, err := p.read(`(SELECT index, NULL::integer[] FROM $postings WHERE term = $1 AND index >= $2 ORDER BY index LIMIT $3)
		UNION ALL (SELECT first, offsets FROM $posting_lists WHERE term = $1
			AND first >= coalesce((SELECT max(first) FROM $posting_lists WHERE term = $1 AND first <= $2), $2) ORDER BY first LIMIT $4)`, i)
	if err != nil {
		return 0, false, err
	}
	high := uint64(math.MaxUint64)
	if len(singles) == window {
		high = slices.Max(singles)
	}
	if len(lists) == listWindow {
		high = min(high, slices.Max(found))
	}
	p.fill(append(found, singles...), i, high)
	if len(p.window) == 0 {
		return 0, false, nil
	}
	return p.window[0], true, nil
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
	found, singles, lists, err := p.read(`(SELECT index, NULL::integer[] FROM $postings WHERE term = $1 AND index <= $2 ORDER BY index DESC LIMIT $3)
		UNION ALL (SELECT first, offsets FROM $posting_lists WHERE term = $1 AND first <= $2 ORDER BY first DESC LIMIT $4)`, min(i, math.MaxInt64))
	if err != nil {
		return 0, false, err
	}
	low := uint64(0)
	if len(singles) == window {
		low = slices.Min(singles)
	}
	if len(lists) == listWindow {
		low = max(low, slices.Min(lists))
	}
	p.fill(append(found, singles...), low, i)
	if len(p.window) == 0 {
		return 0, false, nil
	}
	return p.window[len(p.window)-1], true, nil
}

// fill makes the indexes from low to high the window.
func (p *postings) fill(found []uint64, low, high uint64) {
	slices.Sort(found)
	from, _ := slices.BinarySearch(found, low)
	to, there := slices.BinarySearch(found, high)
	if there {
		to++
	}
	p.window, p.low, p.high, p.filled = found[from:to], low, high, true
}

// read returns the indexes in lists, those with rows of their own, and the
// beginnings of the lists.
func (p *postings) read(query string, at uint64) (found, singles, lists []uint64, err error) {
	var l postingList
	err = p.s.scan(p.ctx, p.s.pool, query, []any{p.term[:], int64(at), window, listWindow}, []any{&l.first, &l.offsets}, func() error {
		if l.offsets == nil {
			singles = append(singles, uint64(l.first))
			return nil
		}
		indexes, err := l.indexes()
		found, lists = append(found, indexes...), append(lists, uint64(l.first))
		return err
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("postings of %x: %w", p.term, err)
	}
	return found, singles, lists, nil
}

// Close implements store.Postings.
func (p *postings) Close() error {
	p.closed = true
	p.once.Do(p.s.uses.Done)
	return nil
}
