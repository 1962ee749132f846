package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of what is kept in memory. Beyond them it is read again.
const (
	maxStreams = 1024
	maxSets    = 8 // of one stream
)

// states has the state of each stream that was used recently.
type states struct {
	mu  sync.Mutex
	all map[entry.Hash]*state
}

// A state is what decisions about a stream have in common. It is a projection,
// and reads new entries when it is used.
type state struct {
	mu         sync.Mutex // guards the fields below; held while entries are read
	nextEvent  uint64     // first index not yet searched for key events
	nextErased uint64     // first index not yet searched for erasures
	keyEvents  []evaluate.KeyEvent
	findings   map[string]*controlFindings // by control
	sets       []cachedSet                 // the most recently read last
}

// controlFindings has the findings about a control that have no subjects.
type controlFindings struct {
	next uint64
	all  []evaluate.Evidence
}

// A cachedSet is a control set with the indexes of its entries.
type cachedSet struct {
	index   uint64 // of the entry of kind control-set
	entries []uint64
	set     *evaluate.Set
}

// An unreadableError reports that the control set in force cannot be applied.
type unreadableError struct{ error }

// ErrUnreadableSet reports that the control set in force cannot be applied,
// because an entry of it is erased or invalid.
var ErrUnreadableSet = errors.New("the control set in force cannot be read: apply it again with muniment control apply")

// Is implements the interface of package errors.
func (*unreadableError) Is(target error) bool { return target == ErrUnreadableSet }

// of returns the state of the stream.
func (ss *states) of(s *ledger.Stream) *state {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	st := ss.all[s.ID]
	if st == nil {
		if ss.all == nil {
			ss.all = map[entry.Hash]*state{}
		}
		for id := range ss.all {
			if len(ss.all) < maxStreams {
				break
			}
			delete(ss.all, id)
		}
		st = &state{findings: map[string]*controlFindings{}}
		ss.all[s.ID] = st
	}
	return st
}

// current returns the state of the stream, locked and up to date.
func (d *Decider) current(ctx context.Context, p *ledger.Published, s *ledger.Stream) (*state, error) {
	st := d.states.of(s)
	st.mu.Lock()
	err := d.each(ctx, p, s, ledger.Filter{Kind: kindname.KeyEvent}, &st.nextEvent, st.addKeyEvent)
	if err == nil { // the entry of an erasure always follows the erased entry
		err = d.each(ctx, p, s, ledger.Filter{Kind: ledger.ErasureKind}, &st.nextErased, st.erase)
	}
	if err != nil {
		st.mu.Unlock()
		return nil, err
	}
	return st, nil
}

// each calls visit with the published entries from the index at which next
// points, and advances it.
func (d *Decider) each(ctx context.Context, p *ledger.Published, s *ledger.Stream, f ledger.Filter, next *uint64, visit func(*ledger.Entry) error) error {
	for e, err := range exception.Entries(ctx, d.Log, p, s, f, next) {
		if err != nil {
			return fmt.Errorf("read entries of kind %s: %w", f.Kind, err)
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// keyEvents returns the published events about signers.
func (d *Decider) keyEvents(ctx context.Context, s *ledger.Stream) ([]keyevent.Event, error) {
	st, err := d.current(ctx, d.Log.Published(), s)
	if err != nil {
		return nil, err
	}
	defer st.mu.Unlock()
	return slices.Clone(st.keyEvents), nil
}

func (st *state) addKeyEvent(e *ledger.Entry) error {
	k, err := keyevent.Read(e)
	if err == nil {
		st.keyEvents = append(st.keyEvents, k)
	}
	return err
}

// erase removes what an erased entry contained.
func (st *state) erase(e *ledger.Entry) error {
	index, err := ledger.ErasedBy(e)
	if err != nil {
		return err
	}
	st.sets = slices.DeleteFunc(st.sets, func(c cachedSet) bool { return slices.Contains(c.entries, index) })
	if e.Header.Attributes["scope"] == ledger.ScopePayload {
		return nil // the rest is read from headers
	}
	st.keyEvents = slices.DeleteFunc(st.keyEvents, func(k evaluate.KeyEvent) bool { return k.Index == index })
	for _, f := range st.findings {
		f.all = slices.DeleteFunc(f.all, func(e evaluate.Evidence) bool { return e.Index == index })
	}
	return nil
}

// findingsOf returns the findings about a control that have no subjects.
func (d *Decider) findingsOf(ctx context.Context, p *ledger.Published, s *ledger.Stream, st *state, control string) ([]evaluate.Evidence, error) {
	known := st.findings[control]
	if known == nil {
		known = &controlFindings{}
		st.findings[control] = known
	}
	err := d.each(ctx, p, s, ledger.Filter{Kind: kindname.Finding, Control: control}, &known.next, func(e *ledger.Entry) error {
		if len(e.Header.Subjects) == 0 {
			known.all = append(known.all, evaluate.Evidence{Index: e.Index, Time: timeOf(e), Header: e.Header})
		}
		return nil
	})
	return known.all, err
}

// newestSet returns the entry of the control set in force below the size, or
// nil.
func (g *gatherer) newestSet(ctx context.Context) (newest *ledger.Entry, err error) {
	err = g.newestFirst(ctx, g.stream, ledger.Filter{Kind: kindname.ControlSet}, g.size, 1, func(e *ledger.Entry) bool {
		if e.Header.NotAdmitted() {
			return true
		}
		newest = e
		return false
	})
	return newest, err
}

// setInForce returns the control set in force below the size, or nil. The error
// is an *unreadableError if the set cannot be applied.
func (g *gatherer) setInForce(ctx context.Context, st *state) (*evaluate.Set, error) {
	newest, err := g.newestSet(ctx)
	if err != nil || newest == nil {
		return nil, err
	}
	if i := slices.IndexFunc(st.sets, func(c cachedSet) bool { return c.index == newest.Index }); i >= 0 {
		return st.sets[i].set, nil
	}
	c := cachedSet{index: newest.Index}
	if c.set, err = g.readSet(ctx, newest, &c); err != nil {
		return nil, err
	}
	if st.sets = append(st.sets, c); len(st.sets) > maxSets {
		st.sets = slices.Delete(st.sets, 0, 1)
	}
	return c.set, nil
}

// readSet reads a control set and its controls.
func (g *gatherer) readSet(ctx context.Context, e *ledger.Entry, c *cachedSet) (*evaluate.Set, error) {
	payload, controls, err := g.readPayloads(ctx, e, c)
	if err != nil {
		return nil, err
	}
	set, err := parseSet(payload, controls)
	if err != nil {
		return nil, &unreadableError{fmt.Errorf("control set in entry %d: %w", e.Index, err)}
	}
	return set, nil
}

// readPayloads reads the payloads of a control set and of its controls, and
// notes their entries.
func (g *gatherer) readPayloads(ctx context.Context, e *ledger.Entry, c *cachedSet) (set []byte, controls [][]byte, err error) {
	c.entries = append(c.entries, e.Index)
	if set, err = g.payload(ctx, e); err != nil {
		return nil, nil, err
	}
	m := &munimentv1.ControlSet{}
	if err := protojson.Unmarshal(set, m); err != nil {
		return nil, nil, &unreadableError{fmt.Errorf("control set in entry %d: %w", e.Index, plain.DecodeError(err))}
	}
	for _, listed := range m.Controls {
		control, at, err := g.readControl(ctx, e.Index, listed)
		if err != nil {
			return nil, nil, err
		}
		controls, c.entries = append(controls, control), append(c.entries, at)
	}
	return set, controls, nil
}

// readControl returns the payload of the newest entry below an index that
// contains the listed control, and its index.
func (g *gatherer) readControl(ctx context.Context, below uint64, listed *munimentv1.ControlReference) (payload []byte, at uint64, err error) {
	var wrong error
	f := ledger.Filter{Kind: kindname.Control, Control: listed.Id}
	err = g.newestFirst(ctx, g.stream, f, below, 1, func(e *ledger.Entry) bool {
		content, err := g.payload(ctx, e)
		var unreadable *unreadableError
		switch {
		case errors.As(err, &unreadable):
			return true
		case err != nil:
			wrong = err
			return false
		case entry.SHA256(content) != listed.Digest:
			return true
		}
		payload, at = content, e.Index
		return false
	})
	switch {
	case err != nil || wrong != nil:
		return nil, 0, errors.Join(err, wrong)
	case payload == nil:
		return nil, 0, &unreadableError{fmt.Errorf("control %s: no entry before the control set contains it", listed.Id)}
	}
	return payload, at, nil
}

// payload returns the payload of an entry. The error is an *unreadableError if
// it was erased or is damaged.
func (g *gatherer) payload(ctx context.Context, e *ledger.Entry) ([]byte, error) {
	p, err := g.Log.Payload(ctx, e)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return nil, &unreadableError{fmt.Errorf("the payload of entry %d was erased", e.Index)}
	}
	return p.Content, nil
}
