package finding

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// A Projection has the findings of each stream. It reads new entries when it is
// used, and goroutines can share it.
type Projection struct {
	Log exception.Log

	streams sync.Map // entry.Hash of a stream → *stream
}

// A stream has the findings of one stream.
type stream struct {
	mu         sync.Mutex // guards the fields below; held while entries are read
	register   *register
	next       uint64 // first index not yet searched for findings
	nextErased uint64 // first index not yet searched for erasures
	version    uint64 // counts changes
}

// Use calls f with the findings of a stream, in the order of their first
// reports, and with a number that grows when they change. They must not be kept
// after f returns.
func (p *Projection) Use(ctx context.Context, s *ledger.Stream, f func(all []*Finding, version uint64)) error {
	return p.use(ctx, s, forever, func(all []*Finding, version, _ uint64) { f(all, version) })
}

// UseSoon is Use for a caller who would rather have some findings now than all
// of them later. It reads new entries for about the given time. Behind is the
// number of indexes of the log that it has not searched then.
func (p *Projection) UseSoon(ctx context.Context, s *ledger.Stream, soon time.Duration, f func(all []*Finding, behind uint64)) error {
	return p.use(ctx, s, soon, func(all []*Finding, _, behind uint64) { f(all, behind) })
}

const forever = time.Duration(math.MaxInt64)

func (p *Projection) use(ctx context.Context, s *ledger.Stream, soon time.Duration, f func(all []*Finding, version, behind uint64)) error {
	st := p.stream(s)
	st.mu.Lock()
	defer st.mu.Unlock()
	behind, err := p.refresh(ctx, s, st, soon)
	if err != nil {
		return fmt.Errorf("read findings: %w", err)
	}
	f(st.register.all, st.version, behind)
	return nil
}

func (p *Projection) stream(s *ledger.Stream) *stream {
	st, ok := p.streams.Load(s.ID)
	if !ok {
		st, _ = p.streams.LoadOrStore(s.ID, &stream{register: newRegister()})
	}
	return st.(*stream)
}

// refresh adds new reports for about the given time, and removes those that
// were erased. An erased report that is not yet added never will be.
func (p *Projection) refresh(ctx context.Context, s *ledger.Stream, st *stream, soon time.Duration) (behind uint64, err error) {
	published, begin, added := p.Log.Published(), time.Now(), 0
	for e, err := range exception.Entries(ctx, p.Log, published, s, ledger.Filter{Kind: kindname.Finding}, &st.next) {
		if err != nil {
			return 0, err
		}
		if added > 0 && time.Since(begin) > soon {
			break
		}
		added++
		if err := st.register.add(&Entry{Index: e.Index, Time: time.UnixMilli(int64(e.Skeleton.Time)).UTC(), Header: e.Header}); err != nil {
			return 0, err
		}
		st.version++
	}
	// The entry of an erasure always follows the erased entry.
	for e, err := range exception.Entries(ctx, p.Log, published, s, ledger.Filter{Kind: ledger.ErasureKind}, &st.nextErased) {
		if err != nil {
			return 0, err
		}
		if e.Header.Attributes["scope"] == ledger.ScopePayload {
			continue // reports are read from headers
		}
		index, err := ledger.ErasedBy(e)
		if err != nil {
			return 0, err
		}
		st.register.erase(index)
		st.version++
	}
	return published.Size - min(published.Size, st.next), nil
}
