package decide

import (
	"fmt"
	"slices"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// offlineControls are the controls of a file.
type offlineControls struct {
	set   *evaluate.Set // nil: no file was given
	paths []images.Path
}

// offlineControls reads the file in --controls, if it is given.
func (g *glass) offlineControls() (*offlineControls, error) {
	if g.Controls == "" {
		return &offlineControls{}, nil
	}
	text, err := bounded.ReadFile(g.Controls, catalog.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("--controls: %w", err)
	}
	parsed, err := catalog.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("--controls: %w", err)
	}
	entries, err := parsed.Entries()
	if err != nil {
		return nil, err
	}
	var payloads [][]byte
	for i := range entries {
		payloads = append(payloads, entries[i].Payload)
	}
	last := len(payloads) - 1 // the set follows its controls
	set, err := evaluate.ParseSet(payloads[last], payloads[:last])
	if err != nil {
		return nil, err
	}
	return &offlineControls{set, images.PathsOf(&munimentv1.ControlSet{ImagePaths: parsed.ImagePaths})}, nil
}

// offlineNeeds returns the controls that would block the artifacts: those of
// the flags, or those of the file that block an artifact without evidence.
func (g *glass) offlineNeeds(set *offlineControls, subjects []*subject) (all []glassNeed, err error) {
	for _, s := range subjects {
		for _, id := range g.Control {
			all = addNeed(all, id, s.Artifact)
		}
		if set.set == nil || len(g.Control) > 0 {
			continue
		}
		a := decide.ArtifactOf(s.GateSubject)
		in := &evaluate.Input{Set: set.set, Time: g.used, Subject: a.Subject, Parts: a.Parts, Stage: g.Stage, Environment: g.Environment}
		m := condition.NewMeter(g.app.Ctx, condition.DecisionCost)
		d, err := evaluate.Prepare(m, in).Decide()
		if err != nil {
			return nil, err
		}
		if len(d.Results) == 0 {
			return nil, fmt.Errorf("%s: %s", term.Quoted(s.Artifact.Name), answer.Explain(d.Reason))
		}
		for i := range d.Results {
			if r := &d.Results[i]; r.Mode == evaluate.Enforce && (r.Result == evaluate.NotSatisfied || r.Result == evaluate.Unclear) {
				all = addNeed(all, r.Control, s.Artifact)
			}
		}
	}
	return all, g.forbidden(set, all)
}

// forbidden returns an error if a control of the file forbids exceptions.
func (g *glass) forbidden(set *offlineControls, needs []glassNeed) error {
	if set.set == nil {
		return nil
	}
	for _, n := range needs {
		i := slices.IndexFunc(set.set.Controls, func(c *evaluate.Control) bool { return c.ID == n.control })
		if i < 0 {
			return fmt.Errorf("--control: %s has no control %q", g.Controls, n.control)
		}
		if set.set.Controls[i].Exceptions.MaxDays == 0 {
			return errForbids(n.control)
		}
	}
	return nil
}
