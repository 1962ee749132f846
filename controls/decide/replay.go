package decide

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Replay asks what a candidate control set would have decided.
type Replay struct {
	Candidate *evaluate.Set
	Since     time.Time // of the first decision
	From      uint64    // index at which to continue; 0: the first one
	Limit     int       // most decisions; at least 1
}

// A Replayed is a recorded decision, decided again with the candidate as of the
// same time and tree size.
type Replayed struct {
	*Recorded
	Decision *evaluate.Decision // nil: it could not be decided again
	Skipped  string             // the reason for that
}

// Candidate returns the control set in the payloads that would put it in force.
// The payloads of its controls can be in any order.
func Candidate(set []byte, controls [][]byte) (*evaluate.Set, error) {
	m := &munimentv1.ControlSet{}
	if err := protojson.Unmarshal(set, m); err != nil {
		return nil, fmt.Errorf("control set: %w", plain.DecodeError(err))
	}
	byDigest := map[string][]byte{}
	for _, c := range controls {
		byDigest[entry.SHA256(c)] = c
	}
	ordered := make([][]byte, 0, len(m.Controls))
	for _, r := range m.Controls {
		c, ok := byDigest[r.Digest]
		if !ok {
			return nil, fmt.Errorf("control %s: no payload has the digest %s", r.Id, r.Digest)
		}
		ordered = append(ordered, c)
	}
	return parseSet(set, ordered)
}

// parseSet reads a control set from its payloads, in its order.
func parseSet(set []byte, controls [][]byte) (*evaluate.Set, error) {
	if _, err := catalog.FromEntries(set, controls); err != nil {
		return nil, err
	}
	return evaluate.ParseSet(set, controls)
}

// Replay decides again each decision recorded since a time, in the order of the
// entries, and calls each with it and with the progress. It returns the index
// at which to continue if it has reached the limit, and otherwise 0.
//
// It reads the log as it is: what was erased since then is missing. The tenant
// takes turns with others, and the end of ctx ends it between two decisions or
// within one. Errors: ErrNotYet; those of each, of the log, and of ctx.
func (d *Decider) Replay(ctx context.Context, tenant string, s *ledger.Stream, r *Replay, each func(*Replayed, Span) error) (next uint64, err error) {
	p := d.Log.Published()
	if r.Since.After(d.Now()) {
		return 0, fmt.Errorf("time %s: %w", r.Since.Format(time.RFC3339), ErrNotYet)
	}
	first, err := d.indexAt(ctx, s, r.Since)
	if err != nil {
		return 0, err
	}
	g := &gatherer{Decider: d, stream: s, question: &Question{}, size: p.Size, at: d.Now(), set: r.Candidate}
	if err := g.share(ctx, p); err != nil {
		return 0, err
	}
	at := max(first, r.From)
	span := Span{Total: p.Size - min(first, p.Size)}
	n := 0
	for e, err := range exception.Entries(ctx, d.Log, p, s, ledger.Filter{Kind: kindname.GateDecision}, &at) {
		if err != nil {
			return 0, err
		}
		if n++; n > r.Limit {
			return e.Index, nil
		}
		one, err := g.replay(ctx, tenant, e)
		if err != nil {
			return 0, err
		}
		span.Done = e.Index + 1 - first
		if err := each(one, span); err != nil {
			return 0, err
		}
	}
	return 0, ctx.Err()
}

// indexAt returns the index above those of the stream's entries before a time.
// The zero value is before all of them.
func (d *Decider) indexAt(ctx context.Context, s *ledger.Stream, t time.Time) (uint64, error) {
	if t.IsZero() {
		return 0, nil
	}
	page, err := d.Log.List(ctx, s, ledger.Query{Filter: ledger.Filter{To: t}, Limit: 1})
	if err != nil || len(page.Entries) == 0 {
		return 0, err
	}
	return page.Entries[0].Index + 1, nil
}

func (g *gatherer) replay(ctx context.Context, tenant string, e *ledger.Entry) (*Replayed, error) {
	r, err := g.readRecorded(ctx, e)
	if err != nil {
		return nil, err
	}
	size := r.Decision.GetTreeSize()
	switch {
	case r.HeaderOnly:
		return &Replayed{Recorded: r, Skipped: "its payload was erased or is damaged"}, nil
	case size > e.Index: // no decision can read itself
		return &Replayed{Recorded: r, Skipped: fmt.Sprintf("it was made at the tree size %d, above its own entry", size)}, nil
	}
	decision, err := g.about(r.question()).asOf(size, r.Decision.Decided.AsTime()).decide(ctx, tenant, r.artifact())
	if err != nil {
		return nil, fmt.Errorf("decision in entry %d: %w", e.Index, err)
	}
	return &Replayed{Recorded: r, Decision: decision}, nil
}

// Changed reports whether the candidate decides otherwise.
func (r *Replayed) Changed() bool {
	return r.Decision != nil && string(r.Decision.Decision) != r.Recorded.Decision.Decision
}
