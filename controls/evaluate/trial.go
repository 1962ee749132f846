package evaluate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/internal/condition"
)

// A Trial checks one control for one artifact, without regard to modes,
// applicability and exceptions. docs/spec/controls.md, section 5, specifies its
// use.
type Trial struct {
	control *Control
	hearing *hearing
}

// A TrialResult is the result of a control's check.
type TrialResult struct {
	Result   string
	Reason   string
	Missing  []string        // as in Result
	Selected map[uint64]bool // entries that requirements select, of included controls as well
}

// PrepareTrial selects the evidence of a trial. The input has no parts, and its
// stage and environment only matter for conditions.
func PrepareTrial(m *condition.Meter, in *Input, c *Control) *Trial {
	until := time.Time{} // a trial is made once
	return &Trial{c, newHearing(m, in, &Part{}, &until)}
}

// Reads returns the evidence whose facts conditions can read, the newest first.
func (t *Trial) Reads() []*Evidence {
	all := map[*Evidence]bool{}
	t.hearing.addReadBy(t.control, all)
	return slices.SortedFunc(maps.Keys(all), func(a, b *Evidence) int { return cmp.Compare(b.Index, a.Index) })
}

// Result checks the control. The error reports that the meter's context ended.
func (t *Trial) Result() (*TrialResult, error) {
	v := t.hearing.check(t.control, nil)
	if err := t.hearing.meter.Context().Err(); err != nil {
		return nil, fmt.Errorf("the check was interrupted: %w", err)
	}
	r := &TrialResult{Result: v.result, Reason: v.reason, Missing: v.missing, Selected: map[uint64]bool{}}
	t.control.visit(func(c *Control) {
		for _, one := range t.hearing.selection(c).requirements {
			for _, e := range one.entries {
				r.Selected[e.Index] = true
			}
		}
	})
	return r, nil
}
