package inventory

import (
	"context"
	"slices"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/ledger"
)

// Results of a coverage.
const (
	Covered     = "decided"
	Uncovered   = "undecided"
	NoInventory = "no-inventory"
)

// A Cell is what artifacts are counted by. Those that run somewhere have the
// scope Runs, and the others Exists.
type Cell struct{ Environment, Scope, Type string }

// A Tally counts the artifacts of a cell.
type Tally struct {
	Inventoried int
	Gaps        map[string]int // by reason
}

// Attested returns the number of artifacts without a gap.
func (t *Tally) Attested() int {
	n := t.Inventoried
	for _, gaps := range t.Gaps {
		n -= gaps
	}
	return n
}

// Add adds the artifacts of another tally.
func (t *Tally) Add(o *Tally) {
	t.Inventoried += o.Inventoried
	for reason, n := range o.Gaps {
		t.gap(reason, n)
	}
}

func (t *Tally) gap(reason string, n int) {
	if t.Gaps == nil {
		t.Gaps = map[string]int{}
	}
	t.Gaps[reason] += n
}

// A Summary is a coverage in numbers.
type Summary struct {
	At      decide.Moment
	Result  string // Covered, Uncovered or NoInventory
	Tallies map[Cell]*Tally
	Sources []*Source // that have not ended
	// Problems are the reasons of Uncovered.
	Problems []string
}

// Summarize is Cover without the names of artifacts.
func (r *Reader) Summarize(ctx context.Context, tenant string, s *ledger.Stream, q *Query, by Criteria) (*Summary, error) {
	sum := &Summary{Tallies: map[Cell]*Tally{}}
	c, err := r.Cover(ctx, tenant, s, q, by, func(a *Artifact, g *Gap, _, _ int) error {
		sum.count(a, g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sum.Problems = c.Problems
	sum.At, sum.Sources = c.At, slices.DeleteFunc(c.Sources, func(s *Source) bool { return s.Retired })
	switch {
	case len(sum.Sources) == 0:
		sum.Result = NoInventory
	case len(c.Problems) > 0:
		sum.Result = Uncovered
	default:
		sum.Result = Covered
	}
	return sum, nil
}

func (sum *Summary) count(a *Artifact, g *Gap) {
	cell := Cell{a.Environment, Exists, a.Type}
	if slices.Contains(a.Scopes, Runs) {
		cell.Scope = Runs
	}
	t := sum.Tallies[cell]
	if t == nil {
		t = &Tally{}
		sum.Tallies[cell] = t
	}
	if t.Inventoried++; g != nil {
		t.gap(g.Reason, 1)
	}
}
