package exception

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
)

// A Log has the published entries of streams. A *ledger.Ledger is a Log.
type Log interface {
	// Published returns the published state.
	Published() *ledger.Published
	// Next returns the first entry of the stream at or above an index that
	// matches the filter, or nil, and the index at which to continue.
	Next(ctx context.Context, p *ledger.Published, s *ledger.Stream, f ledger.Filter, from uint64) (*ledger.Entry, uint64, error)
	// Payload returns the payload of an entry, or nil if it is erased.
	Payload(ctx context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error)
}

// A Projection has the exceptions of each stream. It reads new entries when it
// is used, and goroutines can share it.
type Projection struct {
	Log Log
	Now func() time.Time

	streams sync.Map // entry.Hash of a stream → *stream
}

// A stream has the exceptions of one stream that are not erased.
type stream struct {
	mu            sync.Mutex          // guards the fields below; held while entries are read
	nextKeyEvent  uint64              // first index not yet searched for key events
	nextRequest   uint64              // first index not yet searched for requests
	nextDecision  uint64              // first index not yet searched for decisions
	nextErased    uint64              // first index not yet searched for erasures
	requests      []*request          // in the order of their entries
	byID          map[string]*request // the oldest request, by folded ID
	decisionAbout map[uint64]*request // by the index of the decision
	// keyEvents has the events of each key, in order.
	keyEvents map[string][]keyevent.Event
}

func newStream() *stream {
	return &stream{byID: map[string]*request{}, decisionAbout: map[uint64]*request{}, keyEvents: map[string][]keyevent.Event{}}
}

// exceptions returns the exceptions without those that repeat an ID.
func (st *stream) exceptions() []*Exception {
	all := make([]*Exception, 0, len(st.requests))
	for _, r := range st.requests {
		if !r.repeated {
			all = append(all, st.exception(r))
		}
	}
	return all
}

// exception returns a request with everything about it.
func (st *stream) exception(r *request) *Exception {
	x := &Exception{Request: r.Request, Decisions: slices.Clip(r.Decisions)}
	if r.KeyID != "" {
		x.KeyEvents = slices.Clip(st.keyEvents[r.KeyID])
	}
	return x
}

// A source is a kind of entries that a stream is read from.
type source struct {
	kind  string
	next  *uint64 // first index not yet searched
	visit func(*ledger.Entry) error
}

// sources returns the kinds in the order in which they are read: a signed
// request follows the registration of its key, a decision follows its request,
// and an erasure follows the erased entry.
func (st *stream) sources() []source {
	return []source{
		{kindname.KeyEvent, &st.nextKeyEvent, st.addKeyEvent},
		{kindname.ExceptionRequest, &st.nextRequest, st.addRequest},
		{kindname.ExceptionDecision, &st.nextDecision, st.addDecision},
		{ledger.ErasureKind, &st.nextErased, st.erase},
	}
}

// All returns the exceptions of the stream, in the order of their requests. Of
// several with the same ID it has the oldest.
func (p *Projection) All(ctx context.Context, s *ledger.Stream) ([]*Exception, error) {
	st, err := p.current(ctx, s)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	return st.exceptions(), nil
}

// most are the limits that allow every exception. The entries of an exception
// are kept whatever its control allows, because a control set can change.
var most = Limits{MaxDays: 366, Approvers: 1, Wildcard: true}

// ReliedUpon returns why an entry of the stream must be kept, or "". An
// exception in force relies on its request, on the decisions about it, and on
// the evidence about the artifacts in its scope. A decision that ended an
// exception is kept as long as the request. It implements retention.Reliance.
func (p *Projection) ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	if e.Header == nil {
		return "", nil
	}
	st, err := p.current(ctx, s)
	if err != nil {
		return "", err
	}
	defer st.mu.Unlock()
	about, now := st.decisionAbout[e.Index], p.Now()
	if about != nil && past[st.exception(about).At(now, most).State] != "" {
		return fmt.Sprintf("the exception %s (entry %d) was ended by it", about.ID, about.Index), nil
	}
	for _, r := range st.requests {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		status := st.exception(r).At(now, most)
		if r.repeated || !status.InForce() {
			continue
		}
		until := status.Expires.Format(time.RFC3339)
		switch {
		case r.Index == e.Index, r == about:
			return fmt.Sprintf("the exception %s is in force until %s", r.ID, until), nil
		case slices.ContainsFunc(e.Header.Subjects, r.CoversArtifact):
			return fmt.Sprintf("the exception %s (entry %d), in force until %s, covers the same artifact", r.ID, r.Index, until), nil
		}
	}
	return "", nil
}

// A request is a request with the decisions about it, and its place among those
// of the stream.
type request struct {
	Request
	Decisions []Decision
	// repeated reports that an older request has the ID, so that this one has
	// no effect.
	repeated bool
}

// request returns the request in the entry with the index, or nil.
func (st *stream) request(index uint64) *request {
	i, ok := slices.BinarySearchFunc(st.requests, index, func(r *request, index uint64) int { return cmp.Compare(r.Index, index) })
	if !ok {
		return nil
	}
	return st.requests[i]
}

// current returns the stream, locked and up to date. The lock is for one
// stream, so that tenants do not wait for each other.
func (p *Projection) current(ctx context.Context, s *ledger.Stream) (*stream, error) {
	st := p.stream(s)
	st.mu.Lock()
	if err := p.refresh(ctx, s, st); err != nil {
		st.mu.Unlock()
		return nil, err
	}
	return st, nil
}

func (p *Projection) stream(s *ledger.Stream) *stream {
	st, ok := p.streams.Load(s.ID)
	if !ok {
		st, _ = p.streams.LoadOrStore(s.ID, newStream())
	}
	return st.(*stream)
}

// refresh adds new requests and decisions, and removes those that were erased.
func (p *Projection) refresh(ctx context.Context, s *ledger.Stream, st *stream) error {
	published := p.Log.Published()
	for _, from := range st.sources() {
		for e, err := range Entries(ctx, p.Log, published, s, ledger.Filter{Kind: from.kind}, from.next) {
			if err != nil {
				return fmt.Errorf("read %ss: %w", from.kind, err)
			}
			if err := from.visit(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Entries iterates over the published entries of a stream that match the
// filter, from the index at which next points. It advances next past each entry
// once the caller is done with it, so that a loop that ends early returns to
// the same entry. An error is the last element.
func Entries(ctx context.Context, log Log, p *ledger.Published, s *ledger.Stream, f ledger.Filter, next *uint64) iter.Seq2[*ledger.Entry, error] {
	return func(yield func(*ledger.Entry, error) bool) {
		for *next < p.Size {
			e, after, err := log.Next(ctx, p, s, f, *next)
			if err != nil {
				yield(nil, err)
				return
			}
			if e != nil && !yield(e, nil) {
				return
			}
			*next = after
		}
	}
}

func (st *stream) addKeyEvent(e *ledger.Entry) error {
	k, err := keyevent.Read(e)
	if err == nil && k.KeyID != "" {
		st.keyEvents[k.KeyID] = append(st.keyEvents[k.KeyID], k)
	}
	return err
}

func (st *stream) addRequest(e *ledger.Entry) error {
	if !hasEffect(e.Header) {
		return nil
	}
	r, err := readRequest(e)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if r.KeyID != "" {
		r.Requester, r.Registrar = "", ""
		if k := keyevent.Registration(st.keyEvents[r.KeyID], r.KeyID); k != nil && k.Index < r.Index {
			r.Requester, r.Registrar = k.Person, k.By
		}
	}
	st.requests = append(st.requests, r)
	if st.byID[foldID(r.ID)] != nil {
		r.repeated = true
	} else {
		st.byID[foldID(r.ID)] = r
	}
	return nil
}

// foldID returns the form of an ID that is compared, so that two exceptions
// cannot be mistaken for each other.
func foldID(id string) string { return strings.ToLower(id) }

// addDecision adds a decision to the request that it names by index and ID.
func (st *stream) addDecision(e *ledger.Entry) error {
	if !hasEffect(e.Header) {
		return nil
	}
	d, err := readDecision(e)
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if r := st.request(d.Request); r != nil && r.ID == d.Exception && r.Index < d.Index {
		r.Decisions = append(r.Decisions, d)
		st.decisionAbout[d.Index] = r
	}
	return nil
}

// erase removes an erased request or decision, as if it had never existed. Both
// are read from headers.
func (st *stream) erase(e *ledger.Entry) error {
	if e.Header.Attributes["scope"] == ledger.ScopePayload {
		return nil
	}
	index, err := ledger.ErasedBy(e)
	if err != nil {
		return err
	}
	for id, events := range st.keyEvents {
		st.keyEvents[id] = slices.DeleteFunc(slices.Clone(events), func(k keyevent.Event) bool { return k.Index == index })
	}
	if r := st.decisionAbout[index]; r != nil {
		// A new slice, because callers of All hold the old one.
		r.Decisions = slices.DeleteFunc(slices.Clone(r.Decisions), func(d Decision) bool { return d.Index == index })
		delete(st.decisionAbout, index)
	}
	if r := st.request(index); r != nil {
		st.eraseRequest(r)
	}
	return nil
}

func (st *stream) eraseRequest(r *request) {
	for _, d := range r.Decisions {
		delete(st.decisionAbout, d.Index)
	}
	st.requests = slices.DeleteFunc(st.requests, func(other *request) bool { return other == r })
	if r.repeated {
		return
	}
	id := foldID(r.ID)
	delete(st.byID, id)
	if i := slices.IndexFunc(st.requests, func(other *request) bool { return foldID(other.ID) == id }); i >= 0 {
		st.byID[id], st.requests[i].repeated = st.requests[i], false
	}
}
