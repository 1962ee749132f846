package aca

import (
	"errors"
	"fmt"
	"math"

	"github.com/go-json-experiment/json"
)

// MaxReport is the largest size of a report in bytes.
const MaxReport = 2 << 20

// Marshal returns the report as JSON, always in the same bytes.
func (r *Report) Marshal() ([]byte, error) {
	text, err := json.Marshal(r, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("write the report of a canary analysis: %w", err)
	}
	if len(text) > MaxReport {
		return nil, fmt.Errorf("write the report of a canary analysis: %d bytes, the limit is %d", len(text), MaxReport)
	}
	return text, nil
}

// ErrReport is wrapped by errors about reports that their input contradicts.
var ErrReport = errors.New("the report does not follow from its input")

// Parse returns the report in the text. It computes the report again, and
// refuses one with other results.
func Parse(text []byte) (*Report, error) {
	if len(text) > MaxReport {
		return nil, fmt.Errorf("report of a canary analysis: %d bytes, the limit is %d", len(text), MaxReport)
	}
	var r Report
	if err := json.Unmarshal(text, &r, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("report of a canary analysis: %w", err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("report of a canary analysis: format %.64q: must be %s", r.Format, Format)
	}
	again, err := Judge(r.Config, r.Windows, r.DataChecks)
	if err != nil {
		return nil, err
	}
	if what := r.difference(again); what != "" {
		return nil, fmt.Errorf("report of a canary analysis: %w: %s", ErrReport, what)
	}
	return &r, nil
}

// difference returns a description of the first difference, or "".
func (r *Report) difference(other *Report) string {
	if len(r.Results) != len(other.Results) {
		return fmt.Sprintf("%d results, must be %d", len(r.Results), len(other.Results))
	}
	for i := range r.Results {
		if what := r.Results[i].difference(&other.Results[i]); what != "" {
			return fmt.Sprintf("check %.64q: %s", other.Results[i].Name, what)
		}
	}
	switch {
	case r.Passed != other.Passed || r.Of != other.Of:
		return fmt.Sprintf("%d of %d passed, must be %d of %d", r.Passed, r.Of, other.Passed, other.Of)
	case r.Score != other.Score:
		return fmt.Sprintf("score %g, must be %g", r.Score, other.Score)
	case r.Verdict != other.Verdict:
		return fmt.Sprintf("verdict %.64q, must be %s", r.Verdict, other.Verdict)
	}
	return ""
}

// difference returns the first member that differs, or "". Numbers may differ
// by rounding, since processors round sums of products differently.
func (r *Result) difference(other *Result) string {
	size := 0.0
	for _, x := range []*float64{other.On, other.Off, other.Margin} {
		if x != nil {
			size = max(size, *x)
		}
	}
	for _, member := range []struct {
		name string
		same bool
	}{
		{"name", r.Name == other.Name},
		{"kind", r.Kind == other.Kind},
		{"required", r.Required == other.Required},
		{"result", r.Result == other.Result},
		{"pairs", same(r.Pairs, other.Pairs)},
		{"dropped", same(r.Dropped, other.Dropped)},
		{"test", r.Test == other.Test},
		{"on", near(r.On, other.On, size)},
		{"off", near(r.Off, other.Off, size)},
		{"effect", near(r.Effect, other.Effect, size)},
		{"margin", near(r.Margin, other.Margin, size)},
		{"p", near(r.P, other.P, 1)},
		{"alpha", near(r.Alpha, other.Alpha, 1)},
		{"interval", (r.Interval == nil) == (other.Interval == nil) && (r.Interval == nil ||
			near(&r.Interval[0], &other.Interval[0], size) && near(&r.Interval[1], &other.Interval[1], size))},
	} {
		if !member.same {
			return member.name + " differs"
		}
	}
	return ""
}

func same(a, b *int) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

func near(a, b *float64, size float64) bool {
	return (a == nil) == (b == nil) && (a == nil || math.Abs(*a-*b) <= tolerance*size)
}
