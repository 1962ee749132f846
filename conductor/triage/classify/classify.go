// Package classify decides which candidates are incidents, and gives the
// reasons. See docs/spec/triage.md, section 4.
package classify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/safetext"
)

// A Verdict is the result of a candidate.
type Verdict string

// The verdicts.
const (
	Classified Verdict = "classified"
	Abstained  Verdict = "abstained"
	Incomplete Verdict = "incomplete"
)

// maxListed is the number of alerts that a result lists for each signal.
const maxListed = 16

// A Result is the verdict on one candidate, or on a type without a candidate.
type Result struct {
	Type     string            `json:"type"`
	Severity string            `json:"severity"`
	Key      map[string]string `json:"key,omitempty"` // absent: no candidate
	Verdict  Verdict           `json:"verdict"`
	Reasons  []string          `json:"reasons,omitempty"` // why it is not classified
	Signals  []Signal          `json:"signals"`

	of        *catalogue.Type
	cause     string // why it is not classified
	candidate *correlate.Candidate
	satisfied map[*correlate.Alert]bool // the alerts that satisfy the requirements
}

// A Signal is a required signal, and the alerts that match it.
type Signal struct {
	Name     string  `json:"name"`
	Required int     `json:"required"`
	For      string  `json:"for,omitempty"`
	Counted  int     `json:"counted"`
	Alerts   []Alert `json:"alerts,omitempty"`
	Unlisted int     `json:"unlisted,omitempty"` // alerts beyond the first 16
}

// An Alert is one that matches a required signal.
type Alert struct {
	Name    string            `json:"name"`
	Labels  map[string]string `json:"labels,omitempty"`
	Fires   string            `json:"firesFor,omitempty"`
	Counted bool              `json:"counted"`
	Why     string            `json:"why,omitempty"` // it is not counted
}

// All returns the results of all types of a catalogue at a time, in the order
// of types and keys.
func All(c *catalogue.Catalogue, t *correlate.Table, now time.Time) []*Result {
	var all []*Result
	for _, of := range c.Types {
		candidates, others, full := t.Candidates(of, now)
		switch {
		case full:
			r := without(of, others, now)
			r.cause = "keys"
			r.Verdict, r.Reasons = Abstained, []string{fmt.Sprintf("more than %d keys: correlate by fewer labels", correlate.MaxCandidates)}
			all = append(all, r)
		case len(candidates) == 0:
			all = append(all, without(of, others, now))
		}
		for _, candidate := range candidates {
			all = append(all, judge(candidate, now))
		}
	}
	rivals(all)
	return all
}

// without returns the result of a type without a candidate.
func without(of *catalogue.Type, others []correlate.Member, now time.Time) *Result {
	r := &Result{Type: of.Name, Severity: of.Severity, Verdict: Incomplete, of: of, Signals: make([]Signal, len(of.Signals))}
	for i := range of.Signals {
		r.addSignal(i, others, now, func(m *correlate.Member) string {
			switch {
			case m.Standing != correlate.Counts:
				return notCounted(m, of)
			case i == 0 && !m.Match.Keyed:
				return "it lacks a label of the key"
			}
			return "no alert that counts matches " + of.Signals[0].Name
		})
	}
	r.Reasons = []string{fmt.Sprintf("no alert that counts matches %s", of.Signals[0].Name)}
	return r
}

// judge applies all rules but the one about other types.
func judge(c *correlate.Candidate, now time.Time) *Result {
	r := &Result{
		Type: c.Type.Name, Severity: c.Type.Severity, Key: map[string]string{}, of: c.Type, candidate: c,
		Signals: make([]Signal, len(c.Type.Signals)), satisfied: map[*correlate.Alert]bool{},
	}
	for i, value := range c.Key.Values() {
		r.Key[c.Type.Correlate[i]] = value
	}
	for i, q := range c.Type.Signals {
		r.addSignal(i, c.Members, now, func(m *correlate.Member) string {
			if m.Standing != correlate.Counts {
				return notCounted(m, c.Type)
			}
			if d := now.Sub(m.Opened()); d < q.For {
				return fmt.Sprintf("it fires for %s of %s", rounded(d), q.For)
			}
			r.satisfied[m.Alert] = true
			return ""
		})
		if s := r.Signals[i]; s.Counted < s.Required {
			r.Reasons = append(r.Reasons, fmt.Sprintf("%s: %s of %d", q.Name, safetext.Count(s.Counted, "alert"), s.Required))
		}
	}
	if len(r.Reasons) > 0 {
		r.Verdict, r.cause = Incomplete, "signals"
		return r
	}
	if r.Reasons = doubts(c); len(r.Reasons) > 0 {
		r.Verdict, r.cause = Abstained, "doubt"
		return r
	}
	r.Verdict = Classified
	return r
}

// addSignal lists the alerts that match required signal i. The function returns
// why an alert is not counted.
func (r *Result) addSignal(i int, members []correlate.Member, now time.Time, why func(*correlate.Member) string) {
	q := r.of.Signals[i]
	s := &r.Signals[i]
	*s = Signal{Name: q.Name, Required: q.Count}
	if q.For > 0 {
		s.For = q.For.String()
	}
	for j := range members {
		m := &members[j]
		if m.Match.Signals&(1<<i) == 0 {
			continue
		}
		a := Alert{Name: m.Name, Labels: m.Labels, Why: why(m)}
		if a.Counted = a.Why == ""; a.Counted {
			s.Counted++
		}
		if m.Fires() {
			a.Fires = rounded(now.Sub(m.Opened())).String()
		}
		if len(s.Alerts) == maxListed {
			s.Unlisted++
			continue
		}
		s.Alerts = append(s.Alerts, a)
	}
}

// notCounted words the standing of an alert.
func notCounted(m *correlate.Member, of *catalogue.Type) string {
	switch m.Standing {
	case correlate.Resolved:
		return "it is resolved"
	case correlate.Flapping:
		return "it is flapping"
	case correlate.Claimed:
		return "its episode belongs to incident " + m.Claims()[0]
	default:
		return fmt.Sprintf("it fires for longer than the window of %s", of.Window)
	}
}

// doubts returns the reasons to abstain.
func doubts(c *correlate.Candidate) (reasons []string) {
	add := func(reason string) {
		if !slices.Contains(reasons, reason) && len(reasons) < maxListed {
			reasons = append(reasons, reason)
		}
	}
	for _, m := range c.Members {
		if !m.Fires() {
			continue
		}
		for i, d := range c.Type.Abstain {
			if m.Match.Abstain&(1<<i) != 0 {
				add(fmt.Sprintf("%s (%s)", d.Reason, safetext.Quoted(m.Name)))
			}
		}
		if m.Match.Unclear != nil {
			add(fmt.Sprintf("a reason to abstain cannot be evaluated for %s: %s", safetext.Quoted(m.Name), shortened(m.Match.Unclear)))
		}
		if m.Match.Undecided != nil && m.Standing == correlate.Counts {
			add(fmt.Sprintf("a required signal cannot be evaluated for %s: %s", safetext.Quoted(m.Name), shortened(m.Match.Undecided)))
		}
	}
	return reasons
}

// rivals makes a classified candidate abstain if another type explains the same
// alerts, unless its own type has the higher priority.
func rivals(all []*Result) {
	by := map[*correlate.Alert][]*Result{}
	for _, r := range all {
		if r.Verdict == Classified {
			for a := range r.satisfied {
				by[a] = append(by[a], r)
			}
		}
	}
	lost := map[*Result]map[string]bool{}
	for _, claims := range by {
		for _, r := range claims {
			for _, o := range claims {
				if o.of != r.of && o.of.Priority >= r.of.Priority {
					if lost[r] == nil {
						lost[r] = map[string]bool{}
					}
					lost[r][o.Type] = true
				}
			}
		}
	}
	for r, types := range lost {
		r.Verdict, r.cause = Abstained, "rival"
		r.Reasons = []string{"the same alerts match " + strings.Join(slices.Sorted(maps.Keys(types)), ", ")}
	}
}

// Cause returns why a candidate is not classified: signals are missing, there
// is a doubt, or another type is a rival. It contains nothing of an alert.
func (r *Result) Cause() string { return r.cause }

// Candidate returns the candidate, or nil if there is none.
func (r *Result) Candidate() *correlate.Candidate { return r.candidate }

// Satisfied returns the alerts that satisfy the requirements, in the order of
// the candidate.
func (r *Result) Satisfied() (all []correlate.Member) {
	if r.candidate == nil {
		return nil
	}
	for _, m := range r.candidate.Members {
		if r.satisfied[m.Alert] {
			all = append(all, m)
		}
	}
	return all
}

func shortened(err error) string { return safetext.Escape(condition.Shorten(err.Error())) }

func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
