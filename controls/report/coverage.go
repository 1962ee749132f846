package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/inventory"
)

// maxGaps is the number of gaps that are listed for one type in an environment.
const maxGaps = 1000

// addCoverage adds which share of the artifacts in inventories is attested. The
// environment that has the name of the release comes first.
func (g *gathering) addCoverage(ctx context.Context) error {
	r := g.release
	reader, err := g.coverageReader(ctx)
	if err != nil {
		return err
	}
	stage := g.coveredStage()
	if stage == "" {
		r.Unknown = []string{"No control set is in force, so coverage is not known."}
		return nil
	}
	query := &inventory.Query{At: decide.Moment{Size: g.size, Time: r.Time}}
	type key struct{ environment, typ string }
	gaps := map[key][]Gap{}
	more := map[key]int{}
	found, err := reader.Cover(ctx, g.Tenant, g.Stream, query, inventory.Criteria{Stage: stage}, func(a *inventory.Artifact, gap *inventory.Gap, _, _ int) error {
		k := key{a.Environment, a.Type}
		switch {
		case gap == nil:
		case len(gaps[k]) == maxGaps:
			more[k]++
		default:
			gaps[k] = append(gaps[k], gapOf(a, gap))
		}
		return nil
	})
	if errors.Is(err, inventory.ErrTooMuch) {
		r.Unknown = []string{"Coverage is not known: " + err.Error() + "."}
		return nil
	}
	if err != nil {
		return fmt.Errorf("compute coverage: %w", err)
	}
	for _, c := range found.Counts {
		k := key{c.Environment, c.Type}
		r.Coverage = append(r.Coverage, Coverage{Kind: inventory.Plural(c.Type), Environment: c.Environment, Stage: stage, Attested: c.Attested, Inventoried: c.Inventoried, Gaps: gaps[k], MoreGaps: more[k]})
	}
	slices.SortStableFunc(r.Coverage, func(a, b Coverage) int {
		return compareBools(a.Environment != r.Name, b.Environment != r.Name)
	})
	for _, problem := range found.Problems {
		r.Unknown = append(r.Unknown, sentence(problem)+".")
	}
	for _, s := range found.Sources {
		r.Inventories = append(r.Inventories, s.Entries...)
	}
	slices.Sort(r.Inventories)
	return nil
}

// coverageReader returns the reader that computes coverage.
func (g *gathering) coverageReader(ctx context.Context) (*inventory.Reader, error) {
	if g.Coverage != nil {
		return g.Coverage(ctx, g.release)
	}
	reader := &inventory.Reader{Decider: g.Decider, Projection: g.Inventories}
	if reader.Projection == nil {
		reader.Projection = &inventory.Projection{Log: g.Decider.Log}
	}
	return reader, nil
}

// coveredStage returns the stage that coverage is computed for, or "" without a
// control set.
func (g *gathering) coveredStage() string {
	const usual = "deploy"
	stages := g.messages.GetStages()
	switch {
	case len(stages) == 0:
		return ""
	case g.selection.Stage != "":
		return g.selection.Stage
	case slices.Contains(stages, usual):
		return usual
	}
	return stages[len(stages)-1]
}

// gapReasons has the reasons of gaps in words.
var gapReasons = map[string]string{
	inventory.Unidentified: "it has no digest",
	inventory.NotSatisfied: "not satisfied",
	inventory.Undecided:    "could not be decided",
	inventory.Excepted:     "passes only by an exception",
	inventory.NoControl:    "no control that is enforced applies",
	inventory.Unsigned:     "no control rests on signed evidence",
}

func gapOf(a *inventory.Artifact, gap *inventory.Gap) Gap {
	out := Gap{Name: a.Name(), Digest: digestOf(a.Digest), Where: some(a.Places, 3), Reason: cmp.Or(gapReasons[gap.Reason], gap.Reason)}
	var controls []string
	for _, r := range gap.Results {
		controls = append(controls, r.Control)
	}
	if len(controls) > 0 {
		out.Reason += ": " + some(controls, 6)
	}
	if gap.Detail != "" {
		out.Reason += ": " + gap.Detail
	}
	return out
}
