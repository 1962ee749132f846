package decide

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// A PassQuery selects recorded passes.
type PassQuery struct {
	Since       time.Time // recorded then or later; zero: any time
	Below       uint64    // with smaller indexes; 0: any
	Stage       string    // "": any
	Environment string    // "": any
	Limit       int       // most entries to read; at least 1
}

// An Affected is a recorded pass that would no longer be one.
type Affected struct {
	*Recorded
	Now    *evaluate.Decision // blocked or undecided
	Causes []Cause            // one for each failing result, or one for the decision
}

// Affected decides again, by the newest state of the stream, what was passed
// before, and calls each with the progress and with every pass that would no
// longer be one. For the others, the pass is nil.
//
// It reads passes from the newest to the oldest. Of several about the same
// artifact, parts, stage and environment only the newest counts, even if a
// later decision has blocked it: what runs was passed. It returns the index
// below which to continue if it has reached the limit, and otherwise 0. A call
// that continues another one can meet older passes of what that one has met.
//
// It records nothing and keeps no state between calls. The tenant takes turns
// with others, and the end of ctx ends it. Errors: those of each, of the log,
// and of ctx.
func (d *Decider) Affected(ctx context.Context, tenant string, s *ledger.Stream, q *PassQuery, each func(*Affected, Span) error) (next uint64, err error) {
	g, err := d.gatherer(ctx, s, &Question{})
	if err != nil {
		return 0, err
	}
	lowest, err := d.indexAt(ctx, s, q.Since)
	if err != nil {
		return 0, err
	}
	top := g.size
	if q.Below > 0 {
		top = min(top, q.Below)
	}
	r := &review{gatherer: g, tenant: tenant, before: map[uint64]*gatherer{}, seen: map[[sha256.Size]byte]bool{}}
	if r.newest, err = g.newestSet(ctx); err != nil {
		return 0, err
	}
	span := Span{Total: top - min(lowest, top)}
	n := 0
	filter := ledger.Filter{Kind: kindname.GateDecision, Attribute: "decision=" + string(evaluate.Pass)}
	failed := d.newestFirst(ctx, s, filter, top, pageEntries, func(e *ledger.Entry) bool {
		if e.Index < lowest {
			return false
		}
		if n++; n > q.Limit {
			next = e.Index + 1
			return false
		}
		a := e.Header.Attributes
		span.Done = top - e.Index
		var found *Affected
		if (q.Stage == "" || q.Stage == a["stage"]) && (q.Environment == "" || q.Environment == a["environment"]) {
			if found, err = r.review(ctx, e); err != nil {
				err = fmt.Errorf("pass in entry %d: %w", e.Index, err)
				return false
			}
		}
		err = each(found, span)
		return err == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, err
	}
	return next, ctx.Err()
}

// A review decides passes again.
type review struct {
	*gatherer
	tenant string
	newest *ledger.Entry        // of the control set in force; nil: none
	before map[uint64]*gatherer // by the entry of an earlier control set; nil: it cannot be read
	seen   map[[sha256.Size]byte]bool
}

// review returns the pass in an entry if it would no longer be one, and
// otherwise nil.
func (r *review) review(ctx context.Context, e *ledger.Entry) (*Affected, error) {
	recorded, err := r.readRecorded(ctx, e)
	if err != nil {
		return nil, err
	}
	key := recorded.key()
	if r.seen[key] {
		return nil, nil
	}
	r.seen[key] = true
	g := r.about(recorded.question())
	in, all, err := g.input(ctx, recorded.artifact())
	if err != nil {
		return nil, err
	}
	now, err := g.decideFrom(ctx, r.tenant, copyOf(in), all)
	if err != nil || now.Decision == evaluate.Pass {
		return nil, err
	}
	w := &whyNot{review: r, gatherer: g, recorded: recorded, in: in, all: all, now: now}
	causes, err := w.causes(ctx)
	return &Affected{recorded, now, causes}, err
}

// copyOf returns an input whose evidence can be changed.
func copyOf(in *evaluate.Input) *evaluate.Input {
	out := *in
	out.Evidence = append([]evaluate.Evidence(nil), in.Evidence...)
	return &out
}

// maxBefore is the number of earlier control sets that a review keeps.
const maxBefore = 8

// withSet returns a gatherer of the newest state that applies the control set
// which was in force below a size, or nil if it cannot be read.
func (r *review) withSet(ctx context.Context, size uint64) (*gatherer, error) {
	p := r.Log.Published()
	earlier := r.asOf(size, r.at)
	newest, err := earlier.newestSet(ctx)
	if err != nil || newest == nil {
		return nil, err
	}
	if g, ok := r.before[newest.Index]; ok {
		return g, nil
	}
	st, err := r.current(ctx, p, r.stream)
	if err != nil {
		return nil, err
	}
	set, err := earlier.setInForce(ctx, st)
	st.mu.Unlock()
	var g *gatherer
	if err == nil && set != nil {
		g = &gatherer{Decider: r.Decider, stream: r.stream, question: &Question{}, size: r.size, at: r.at, set: set}
		err = g.share(ctx, p)
	}
	if isUnreadable(err) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if len(r.before) >= maxBefore {
		clear(r.before)
	}
	r.before[newest.Index] = g
	return g, nil
}
