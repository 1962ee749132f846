// Package decide gathers from a stream what decisions depend on, and makes
// them.
//
// The ledger is all that it reads. docs/spec/decision.md specifies decisions,
// and package evaluate makes one.
package decide

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/facts"
)

// A Log has the published entries of streams. A *ledger.Ledger is a Log.
type Log interface {
	exception.Log
	// List returns a page of the stream's entries that match a query.
	List(ctx context.Context, s *ledger.Stream, q ledger.Query) (*ledger.Page, error)
	// Entry returns an entry of the stream.
	Entry(ctx context.Context, s *ledger.Stream, index uint64) (*ledger.Entry, error)
	// Payload returns the payload of an entry, or nil if it was erased.
	Payload(ctx context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error)
}

// A Question asks whether artifacts may pass a stage.
type Question struct {
	Stage       string
	Environment string // can be empty
	// Control is the only control that is decided about, at its first stage and
	// whatever its mode. Empty: those of the stage.
	Control string
	// At is the past that is decided again. The zero value is now.
	At Moment
	// Candidate is applied instead of the control set in force. Nil: none.
	Candidate *evaluate.Set
}

// A Moment is a state of the stream. With both members it is what a gate has
// decided for at that time, from a tree of that size.
type Moment struct {
	Size uint64    // of the tree
	Time time.Time // without a size: the entries until then
}

// An Artifact is what a decision is about.
type Artifact struct {
	evaluate.Subject
	Parts []evaluate.Part
}

var (
	// ErrNotYet reports that a moment is not in the past.
	ErrNotYet = errors.New("it is beyond the published log")
	// ErrUnknownControl reports that the control set in force does not have the
	// control of a question.
	ErrUnknownControl = errors.New("the control set in force does not have it: see muniment control list")
	// ErrTooEarly reports a time before entries that the decision reads.
	ErrTooEarly = errors.New("it is before an entry of the stream that the decision reads")
)

// A Decider makes decisions. Goroutines can share it.
type Decider struct {
	Log        Log
	Facts      Facts
	Exceptions *exception.Projection
	Now        func() time.Time

	elements int // bound on facts; 0: maxElements
	states   states
}

// Decide makes a decision for each of the artifacts, in their order, all about
// the same state of the stream. each is called with each decision as it is
// made. The tenant takes turns with others.
func (d *Decider) Decide(ctx context.Context, tenant string, s *ledger.Stream, q *Question, artifacts []Artifact, each func(int, *evaluate.Decision) error) error {
	return d.DecideEach(ctx, tenant, s, q, artifacts, func(i int, decision *evaluate.Decision, err error) error {
		if err != nil {
			return fmt.Errorf("artifact %d: %w", i, err)
		}
		return each(i, decision)
	})
}

// DecideEach is Decide, and calls each with the error about an artifact as
// well. It goes on if each returns nil.
func (d *Decider) DecideEach(ctx context.Context, tenant string, s *ledger.Stream, q *Question, artifacts []Artifact, each func(int, *evaluate.Decision, error) error) error {
	g, err := d.gatherer(ctx, s, q)
	if err != nil {
		return err
	}
	for i := range artifacts {
		decision, err := g.decide(ctx, tenant, &artifacts[i])
		if err := each(i, decision, err); err != nil {
			return err
		}
	}
	return nil
}

func (g *gatherer) decide(ctx context.Context, tenant string, a *Artifact) (*evaluate.Decision, error) {
	in, all, err := g.input(ctx, a)
	if err != nil {
		return nil, err
	}
	return g.decideFrom(ctx, tenant, in, all)
}

// decideFrom makes the decision from an input, to whose evidence it adds facts.
func (g *gatherer) decideFrom(ctx context.Context, tenant string, in *evaluate.Input, all found) (*evaluate.Decision, error) {
	m := condition.NewMeter(ctx, condition.DecisionCost)
	m.TakeTurns(tenant)
	defer m.End()
	p := evaluate.Prepare(m, in)
	if err := g.addAllFacts(ctx, p.Reads(), all); err != nil {
		return nil, err
	}
	return p.Decide()
}

// gatherer returns the gatherer of the state that the question is about.
func (d *Decider) gatherer(ctx context.Context, s *ledger.Stream, q *Question) (*gatherer, error) {
	p := d.Log.Published()
	size, at, err := d.moment(ctx, p, s, q.At)
	if err != nil {
		return nil, err
	}
	g := &gatherer{Decider: d, stream: s, question: q, size: size, at: at, set: q.Candidate}
	if err := g.share(ctx, p); err != nil {
		return nil, err
	}
	return g, nil
}

// StateAt returns the state that a moment stands for, as a tree size and a
// time. Decisions of that moment are about the same state.
func (d *Decider) StateAt(ctx context.Context, s *ledger.Stream, m Moment) (Moment, error) {
	size, at, err := d.moment(ctx, d.Log.Published(), s, m)
	return Moment{size, at}, err
}

// moment returns the tree size and the time of a decision.
func (d *Decider) moment(ctx context.Context, p *ledger.Published, s *ledger.Stream, m Moment) (size uint64, at time.Time, err error) {
	switch {
	case m.Size > p.Size:
		return 0, at, fmt.Errorf("size %d: %w, which has %d entries", m.Size, ErrNotYet, p.Size)
	case m.Size > 0:
		at = time.UnixMilli(0).UTC()
		e, err := d.newest(ctx, s, ledger.Filter{}, m.Size)
		if err == nil && e != nil {
			at = timeOf(e)
		}
		if err != nil || m.Time.IsZero() {
			return m.Size, at, err
		}
		switch now := d.now(p); {
		case m.Time.After(now):
			return 0, at, fmt.Errorf("time %s: %w, whose time is %s", m.Time.Format(time.RFC3339), ErrNotYet, now.Format(time.RFC3339))
		case m.Time.Before(at):
			return 0, at, fmt.Errorf("time %s: %w", m.Time.Format(time.RFC3339), ErrTooEarly)
		}
		return m.Size, m.Time.UTC().Truncate(time.Millisecond), nil
	case !m.Time.IsZero():
		at = m.Time.UTC().Truncate(time.Millisecond)
		if at.After(d.Now()) {
			return 0, at, fmt.Errorf("time %s: %w", at.Format(time.RFC3339), ErrNotYet)
		}
		page, err := d.Log.List(ctx, s, ledger.Query{Filter: ledger.Filter{To: at.Add(time.Millisecond)}, Limit: 1})
		if err != nil || len(page.Entries) == 0 {
			return 0, at, err
		}
		return min(p.Size, page.Entries[0].Index+1), at, nil
	}
	at = d.now(p)
	e, err := d.newest(ctx, s, ledger.Filter{}, p.Size)
	if err == nil && e != nil && at.Before(timeOf(e)) { // a replica has no other times
		at = timeOf(e)
	}
	return p.Size, at, err
}

// now returns the time of the clock, or that of the log's last entry if it is
// later.
func (d *Decider) now(p *ledger.Published) time.Time {
	at := d.Now().UTC().Truncate(time.Millisecond)
	if last := time.UnixMilli(int64(p.Time)).UTC(); at.Before(last) {
		return last
	}
	return at
}

func timeOf(e *ledger.Entry) time.Time { return time.UnixMilli(int64(e.Skeleton.Time)).UTC() }

// pageEntries is the number of entries that one query reads.
const pageEntries = 100

// newest returns the newest entry below a size that matches the filter, or nil.
func (d *Decider) newest(ctx context.Context, s *ledger.Stream, f ledger.Filter, size uint64) (found *ledger.Entry, err error) {
	err = d.newestFirst(ctx, s, f, size, 1, func(e *ledger.Entry) bool {
		found = e
		return false
	})
	return found, err
}

// NewestFirst calls visit with the entries of the stream below a size that
// match the filter, the newest first, until it returns false.
func (d *Decider) NewestFirst(ctx context.Context, s *ledger.Stream, f ledger.Filter, size uint64, visit func(*ledger.Entry) bool) error {
	return d.newestFirst(ctx, s, f, size, pageEntries, visit)
}

// newestFirst calls visit with the entries below a size that match the filter,
// the newest first, until it returns false. The first page has the given number
// of entries.
func (d *Decider) newestFirst(ctx context.Context, s *ledger.Stream, f ledger.Filter, size uint64, first int, visit func(*ledger.Entry) bool) error {
	if size == 0 {
		return nil
	}
	for q := (ledger.Query{Filter: f, Below: size, Limit: first}); ; q.Limit = pageEntries {
		page, err := d.Log.List(ctx, s, q)
		if err != nil {
			return err
		}
		for i := range page.Entries {
			if !visit(&page.Entries[i]) {
				return nil
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

// A FactsLog has the stored facts of entries. A *ledger.Ledger is a FactsLog.
type FactsLog interface {
	// Facts returns the encoded facts of an entry, or nil if it has none or its
	// payload was erased.
	Facts(ctx context.Context, e *ledger.Entry) ([]byte, error)
}

// StoredFacts reads the facts that are stored with entries.
type StoredFacts struct{ Log FactsLog }

// FactsOf implements Facts.
func (s StoredFacts) FactsOf(ctx context.Context, _ *ledger.Stream, e *ledger.Entry) (*facts.Facts, error) {
	encoded, err := s.Log.Facts(ctx, e)
	switch {
	case err != nil:
		return nil, err
	case encoded != nil:
		return facts.Decode(encoded)
	case facts.Expected(e.Header):
		return nil, fmt.Errorf("facts of entry %d: %w", e.Index, ledger.ErrErased)
	}
	return nil, nil
}
