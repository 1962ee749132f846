package evaluate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/internal/condition"
)

// A Preparation is a decision whose evidence has been selected. The facts of
// the evidence that it reads can be added before it is made, so that evidence
// which counts for no control costs next to nothing.
type Preparation struct {
	*Input
	meter    *condition.Meter
	hearings []*hearing // one for each part; empty: no control is evaluated
	until    time.Time
}

// Prepare selects the evidence of a decision. Its work is charged to the meter,
// whose end makes controls undecided.
func Prepare(m *condition.Meter, in *Input) *Preparation {
	p := &Preparation{Input: in, meter: m}
	if in.Set == nil || !slices.Contains(in.Set.Stages, in.Stage) || !in.Set.hasEnvironment(in.Environment) {
		return p
	}
	parts := in.Parts
	if len(parts) == 0 {
		parts = []Part{{}}
	}
	for i := range parts {
		p.hearings = append(p.hearings, newHearing(m, in, &parts[i], &p.until))
	}
	return p
}

// Reads returns the evidence whose facts conditions can read, the newest first.
func (p *Preparation) Reads() []*Evidence {
	all := map[*Evidence]bool{}
	for _, h := range p.hearings {
		h.addRead(all)
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b *Evidence) int { return cmp.Compare(b.Index, a.Index) })
}

// addRead adds the evidence whose facts the conditions of applied controls can
// read.
func (h *hearing) addRead(all map[*Evidence]bool) {
	for _, c := range h.Set.Controls {
		if c.mode(h.Stage, h.Environment) != "" && c.appliesTo(&h.Subject) {
			h.addReadBy(c, all)
		}
	}
}

// addReadBy adds the evidence whose facts the conditions of a control and of
// those that it includes can read.
func (h *hearing) addReadBy(c *Control, all map[*Evidence]bool) {
	if h.tooMany {
		return
	}
	c.visit(func(c *Control) {
		scans := c.Condition != nil && c.Condition.Reads("vulnerabilities")
		if !scans && (c.Condition == nil || !c.Condition.Reads("evidence")) {
			return
		}
		for _, r := range h.selection(c).requirements {
			for _, e := range r.entries {
				all[e.Evidence] = true
			}
			for i := 0; scans && i < len(r.aged); i++ {
				all[r.aged[i].Evidence] = true
			}
		}
	})
}

// Decide makes the decision. The error reports that the meter's context ended.
func (p *Preparation) Decide() (*Decision, error) {
	d := &Decision{Size: p.Size, Decided: p.Time, Inputs: Inputs(p.Input)}
	validFor := DefaultValidFor
	if p.Set != nil {
		d.ControlSet = p.Set.Digest
		if p.Set.ValidFor > 0 {
			validFor = p.Set.ValidFor
		}
	}
	p.until = p.Time.Add(validFor)
	d.Results, d.Reason = p.results()
	d.ValidUntil = p.until
	d.Decision = outcome(d)
	if d.Reason == "" && !slices.ContainsFunc(d.Results, func(r Result) bool { return r.Result != NotApplicable }) {
		d.Reason = NothingApplies
	}
	if err := p.meter.Context().Err(); err != nil {
		return nil, fmt.Errorf("the decision was interrupted: %w", err)
	}
	return d, nil
}

// results evaluates the controls. The reason is set if there is nothing to
// evaluate.
func (p *Preparation) results() (all []Result, reason string) {
	switch {
	case p.Set == nil && p.Unreadable == nil:
		return nil, NoControlSet
	case p.Set == nil:
		return nil, UnreadableSet + reasonSeparator + condition.Shorten(p.Unreadable.Error())
	case !slices.Contains(p.Set.Stages, p.Stage):
		return nil, UnknownStage
	case len(p.hearings) == 0:
		return nil, UnknownEnv
	}
	for i, h := range p.hearings {
		for at, r := range h.results() {
			if i == 0 {
				all = append(all, r)
			} else {
				all[at].merge(&r)
			}
		}
	}
	return all, ""
}
