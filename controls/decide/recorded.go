package decide

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Recorded is a decision that an entry of kind gate-decision records.
type Recorded struct {
	Index    uint64 // of the entry
	Decision *munimentv1.GateDecision
	// HeaderOnly is set if the payload was erased or is damaged. The decision
	// then has what the header contains, which is the question and the outcome.
	HeaderOnly bool
}

// readRecorded reads the decision in an entry.
func (d *Decider) readRecorded(ctx context.Context, e *ledger.Entry) (*Recorded, error) {
	p, err := d.Log.Payload(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("payload of entry %d: %w", e.Index, err)
	}
	if p != nil {
		m := &munimentv1.GateDecision{}
		if protojson.Unmarshal(p.Content, m) == nil && len(m.Subjects) > 0 {
			m.Attestations = nil
			return &Recorded{Index: e.Index, Decision: m}, nil
		}
	}
	return &Recorded{Index: e.Index, Decision: DecisionOf(e), HeaderOnly: true}, nil
}

// DecisionOf returns what a header contains of a decision. The tree had at most
// as many entries as precede the decision's.
func DecisionOf(e *ledger.Entry) *munimentv1.GateDecision {
	a := e.Header.Attributes
	size := e.Index
	m := &munimentv1.GateDecision{Stage: a["stage"], Environment: a["environment"], Decision: a["decision"], Type: a["type"], ControlSet: a["controlSet"], Inputs: a["inputs"], TreeSize: &size}
	decided, err := time.Parse(time.RFC3339Nano, a["decided"])
	if err != nil {
		decided = timeOf(e)
	}
	m.Decided = timestamppb.New(decided)
	for _, s := range e.Header.Subjects {
		m.Subjects = append(m.Subjects, &munimentv1.Artifact{Name: s.Name, Digest: s.Digest})
	}
	return m
}

// question returns what was asked, without the moment.
func (r *Recorded) question() *Question {
	return &Question{Stage: r.Decision.Stage, Environment: r.Decision.Environment}
}

// artifact returns what the decision is about.
func (r *Recorded) artifact() *Artifact {
	a := &Artifact{Subject: evaluate.Subject{Type: r.Decision.Type}}
	for i, s := range r.Decision.Subjects {
		if i == 0 {
			a.Name, a.Digest = s.Name, s.Digest
			continue
		}
		a.Parts = append(a.Parts, evaluate.Part{Name: s.Name, Digest: s.Digest})
	}
	return a
}

// key returns a text that is equal for decisions about the same artifact, with
// the same parts, at the same stage and in the same environment.
func (r *Recorded) key() [sha256.Size]byte {
	lines := []string{r.Decision.Type, r.Decision.Stage, evaluate.Escape(r.Decision.Environment)}
	var parts []string
	for i, s := range r.Decision.Subjects {
		digests := make([]string, 0, len(s.Digest))
		for alg, v := range s.Digest {
			digests = append(digests, entry.CanonicalDigest(alg, v).String())
		}
		slices.Sort(digests)
		text := evaluate.Escape(strings.Join(digests, ","))
		if i == 0 {
			lines = append(lines, evaluate.Escape(s.Name), text)
		} else {
			parts = append(parts, text)
		}
	}
	slices.Sort(parts)
	return sha256.Sum256([]byte(strings.Join(append(lines, parts...), "\n")))
}

// A Span is how far a pass over the log has come, in indexes.
type Span struct{ Done, Total uint64 }

// about returns the gatherer of the same state for another question.
func (g *gatherer) about(q *Question) *gatherer {
	one := *g
	one.question = q
	one.shared.Stage, one.shared.Environment = q.Stage, q.Environment
	return &one
}

// asOf returns the gatherer of an earlier state. What it shares with g is not
// newer than g, and decisions read nothing above their size.
func (g *gatherer) asOf(size uint64, at time.Time) *gatherer {
	one := *g
	one.size, one.at = size, at
	one.shared.Size, one.shared.Time = size, at
	return &one
}

// failing returns the results that keep a decision from a pass.
func failing(d *evaluate.Decision) (all []*evaluate.Result) {
	for i := range d.Results {
		if r := &d.Results[i]; r.Mode == evaluate.Enforce && !r.Holds() {
			all = append(all, r)
		}
	}
	return all
}

// Failing returns the results that keep a decision from a pass, at most 64, as
// entries contain them.
func Failing(d *evaluate.Decision) []*munimentv1.ControlResult { return Results(failing(d)) }

// Results returns the first 64 of the results as entries contain them.
func Results(results []*evaluate.Result) (all []*munimentv1.ControlResult) {
	for _, r := range first(results) {
		all = append(all, resultMessage(r))
	}
	return all
}
