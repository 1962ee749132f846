package inventory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// maxEntries is the number of entries that a look into the past reads.
const maxEntries = 200_000

// A Projection has the newest inventories of each stream. It reads new entries
// when it is used, and goroutines can share it.
type Projection struct {
	Log exception.Log

	streams sync.Map // entry.Hash of a stream → *stream
}

// A stream has the inventories of one stream.
type stream struct {
	mu         sync.Mutex // guards the fields below; held while entries are read
	register   *register
	next       uint64 // first index not yet searched for inventories
	nextErased uint64 // first index not yet searched for erasures
}

// compare orders keys by environment, scope and source.
func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Environment, o.Environment), cmp.Compare(k.Scope, o.Scope), cmp.Compare(k.Source, o.Source))
}

// Newest returns the newest observation of each source up to a tree size, by
// environment, scope and source. They must not be changed.
func (p *Projection) Newest(ctx context.Context, s *ledger.Stream, size uint64) ([]*Observation, error) {
	return p.at(ctx, s, size, (*register).newest)
}

// at returns what list returns of a register with the entries below a size.
func (p *Projection) at(ctx context.Context, s *ledger.Stream, size uint64, list func(*register) []*Observation) ([]*Observation, error) {
	published := p.Log.Published()
	st := p.stream(s)
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := p.refresh(ctx, published, s, st); err != nil {
		return nil, fmt.Errorf("read inventories: %w", err)
	}
	found := list(st.register)
	if !slices.ContainsFunc(found, func(o *Observation) bool { return slices.Max(o.Entries) >= size }) {
		return found, nil
	}
	r, err := p.past(ctx, published, s, size)
	if err != nil {
		return nil, err
	}
	return list(r), nil
}

// ReliedUpon returns why an entry of the stream must be kept, or "": coverage
// counts the newest inventory of each source. It implements retention.Reliance.
func (p *Projection) ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	if e.Header == nil || e.Header.Kind != kindname.Inventory {
		return "", nil
	}
	st := p.stream(s)
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := p.refresh(ctx, p.Log.Published(), s, st); err != nil {
		return "", fmt.Errorf("read inventories: %w", err)
	}
	key := keyOf(e.Header)
	if source := st.register.sources[key]; source == nil || source.newest == nil || !slices.Contains(source.newest.Entries, e.Index) {
		return "", nil
	}
	return fmt.Sprintf("coverage counts %s", key), nil
}

func (p *Projection) stream(s *ledger.Stream) *stream {
	st, ok := p.streams.Load(s.ID)
	if !ok {
		st, _ = p.streams.LoadOrStore(s.ID, &stream{register: newRegister()})
	}
	return st.(*stream)
}

// refresh adds new entries. If the header of one that counts was erased, all
// are read again, because an older one can count in its place.
func (p *Projection) refresh(ctx context.Context, published *ledger.Published, s *ledger.Stream, st *stream) error {
	for e, err := range exception.Entries(ctx, p.Log, published, s, ledger.Filter{Kind: ledger.ErasureKind}, &st.nextErased) {
		if err != nil {
			return err
		}
		if e.Header.Attributes["scope"] == ledger.ScopePayload {
			continue // which is noticed when it is read
		}
		index, err := ledger.ErasedBy(e)
		if err != nil {
			return err
		}
		if index < st.next && st.register.lists(index) {
			st.register, st.next = newRegister(), 0
		}
	}
	for e, err := range exception.Entries(ctx, p.Log, published, s, ledger.Filter{Kind: kindname.Inventory}, &st.next) {
		if err == nil {
			err = st.register.add(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// past returns the register of a state in the past.
func (p *Projection) past(ctx context.Context, published *ledger.Published, s *ledger.Stream, size uint64) (*register, error) {
	r, next, n := newRegister(), uint64(0), 0
	for e, err := range exception.Entries(ctx, p.Log, published, s, ledger.Filter{Kind: kindname.Inventory}, &next) {
		if err != nil {
			return nil, fmt.Errorf("read inventories: %w", err)
		}
		if e.Index >= size {
			break
		}
		if n++; n > maxEntries {
			return nil, fmt.Errorf("%w: more than %d inventories before size %d", ErrTooMuch, maxEntries, size)
		}
		if err := r.add(e); err != nil {
			return nil, err
		}
	}
	return r, nil
}
