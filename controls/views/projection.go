package views

import (
	"context"
	"iter"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ledger"
)

const (
	// projectedEntries and projectedBytes limit what one call adds to a
	// projection: entries, and bytes of their headers.
	projectedEntries = 4_000
	projectedBytes   = 16 << 20
)

// A projection is what the tallies, budgets and indexes of a stream share: they
// read new entries when they are used, a bounded number in one call, and start
// again after an erasure of an entry that they have read. So they keep nothing
// that was erased, and have the same content after a restart.
type projection struct {
	lock       *semaphore.Weighted // for the fields of the projection; held while entries are read
	started    bool
	next       uint64 // first index that was not read
	nextErased uint64 // first index that was not searched for erasures
}

func newProjection() projection { return projection{lock: semaphore.NewWeighted(1)} }

// erased returns the entries whose headers were erased since the projection has
// started. With all, it returns that there are too many to list.
//
// An entry that was read with a header was erased later, so that the erasure is
// above what was published when the projection started.
func (x *projection) erased(ctx context.Context, log exception.Log, p *ledger.Published, s *ledger.Stream) (indexes map[uint64]bool, all bool, err error) {
	f := ledger.Filter{Kind: ledger.ErasureKind, Attribute: "scope=" + ledger.ScopeHeaderAndPayload}
	for e, err := range some(ctx, log, p, s, f, &x.nextErased) {
		if err != nil {
			return nil, false, err
		}
		index, err := ledger.ErasedBy(e)
		if err != nil {
			return nil, false, err
		}
		if indexes == nil {
			indexes = map[uint64]bool{}
		}
		indexes[index] = true
	}
	return indexes, x.nextErased < p.Size, nil
}

// start notes that the projection is empty, and reads from an index on.
func (x *projection) start(p *ledger.Published, from uint64) {
	x.started, x.next, x.nextErased = true, from, p.Size
}

// behind returns how many indexes of the log are left.
func (x *projection) behind(p *ledger.Published) uint64 { return p.Size - min(p.Size, x.next) }

// some is exception.Entries for as many entries as one call reads.
func some(ctx context.Context, log exception.Log, p *ledger.Published, s *ledger.Stream, f ledger.Filter, next *uint64) iter.Seq2[*ledger.Entry, error] {
	return func(yield func(*ledger.Entry, error) bool) {
		n, bytes := 0, 0
		for e, err := range exception.Entries(ctx, log, p, s, f, next) {
			if err == nil {
				if n == projectedEntries || bytes >= projectedBytes {
					return // and begins with this entry the next time
				}
				n++
				if e.Opening != nil {
					bytes += len(e.Opening.Content)
				}
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
