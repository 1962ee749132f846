// Package posture summarizes the findings and exceptions of a stream, and lists
// the events about them that people should hear of.
package posture

import (
	"context"
	"math"
	"sync"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// A FindingState is a state with the severity of the findings in it.
type FindingState struct {
	Status   finding.Status
	Severity string
}

// Statuses lists the statuses by which findings are counted. A resolution that
// the log has not accepted leaves the finding open.
var Statuses = []finding.Status{finding.Open, finding.InProgress, finding.Resolved, finding.Reopened}

// Severities lists the severities of findings.
var Severities = []string{"critical", "high", "medium", "low", "info", "unknown"}

// A Summary counts the findings and exceptions of a stream at one time.
type Summary struct {
	Findings   map[FindingState]int
	Overdue    int // findings
	Exceptions map[exception.State]int
	// Soonest is the earliest expiry of the exceptions in force; zero: none is.
	Soonest time.Time
}

// Add adds the counts of another stream.
func (s *Summary) Add(o *Summary) {
	for k, n := range o.Findings {
		s.Findings[k] += n
	}
	for k, n := range o.Exceptions {
		s.Exceptions[k] += n
	}
	s.Overdue += o.Overdue
	if !o.Soonest.IsZero() && (s.Soonest.IsZero() || o.Soonest.Before(s.Soonest)) {
		s.Soonest = o.Soonest
	}
}

// New returns a summary of nothing.
func New() *Summary {
	return &Summary{Findings: map[FindingState]int{}, Exceptions: map[exception.State]int{}}
}

// Share returns the share of findings that are closed with linked evidence,
// from 0 to 1. It is 1 if there are none.
func (s *Summary) Share() float64 {
	resolved, total := 0, 0
	for k, n := range s.Findings {
		if total += n; k.Status == finding.Resolved {
			resolved += n
		}
	}
	if total == 0 {
		return 1
	}
	return float64(resolved) / float64(total)
}

// Left returns the time until the earliest expiry, in seconds. It is infinite
// if no exception is in force.
func (s *Summary) Left(now time.Time) float64 {
	if s.Soonest.IsZero() {
		return math.Inf(1)
	}
	return s.Soonest.Sub(now).Seconds()
}

// A Reader reads summaries. Goroutines can share it.
type Reader struct {
	Decider    *decide.Decider
	Exceptions *exception.Projection
	Findings   *finding.Projection
	Now        func() time.Time

	mu     sync.Mutex
	counts map[entry.Hash]*findingCount
}

// A findingCount keeps the counts of a stream's findings until they change.
type findingCount struct {
	version uint64        // of the findings
	set     *evaluate.Set // whose periods apply
	until   time.Time     // when the next finding becomes overdue; zero: never
	states  map[FindingState]int
	overdue int
}

// Read returns the summary of a stream. Its cost depends on new entries and on
// the number of exceptions. The findings are only counted again if they, the
// control set or the passing of a deadline changes the result.
func (r *Reader) Read(ctx context.Context, s *ledger.Stream) (*Summary, error) {
	set, err := r.Decider.Set(ctx, s)
	if err != nil {
		return nil, err
	}
	sum, now := New(), r.Now()
	err = r.Findings.Use(ctx, s, func(all []*finding.Finding, version uint64) {
		c := r.count(s.ID, all, version, set, now)
		for k, n := range c.states {
			sum.Findings[k] = n
		}
		sum.Overdue = c.overdue
	})
	if err != nil {
		return nil, err
	}
	exceptions, err := r.Exceptions.All(ctx, s)
	if err != nil {
		return nil, err
	}
	for _, x := range exceptions {
		status := x.At(now, LimitsOf(set, x.Control))
		sum.Exceptions[status.State]++
		if status.InForce() && (sum.Soonest.IsZero() || status.Expires.Before(sum.Soonest)) {
			sum.Soonest = status.Expires
		}
	}
	return sum, nil
}

// count returns the counts of a stream's findings.
func (r *Reader) count(id entry.Hash, all []*finding.Finding, version uint64, set *evaluate.Set, now time.Time) *findingCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.counts[id]; c != nil && c.version == version && c.set == set && (c.until.IsZero() || now.Before(c.until)) {
		return c
	}
	c := &findingCount{version: version, set: set, states: map[FindingState]int{}}
	for _, f := range all {
		c.states[FindingState{StatusOf(f), f.Newest().Severity}]++
		due := f.Deadline(Days(set))
		switch {
		case f.Resolved() || due.IsZero():
		case !due.After(now):
			c.overdue++
		case c.until.IsZero() || due.Before(c.until):
			c.until = due
		}
	}
	if r.counts == nil {
		r.counts = map[entry.Hash]*findingCount{}
	}
	r.counts[id] = c
	return c
}

// StatusOf returns the status by which a finding is counted.
func StatusOf(f *finding.Finding) finding.Status {
	if n := f.Newest(); n.Status != finding.Resolved || n.Accepted {
		return n.Status
	}
	return finding.Open
}

// Control returns a control of a set, which can be nil, or nil.
func Control(set *evaluate.Set, id string) *evaluate.Control {
	if set == nil {
		return nil
	}
	for _, c := range set.Controls {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// LimitsOf returns the limits of exceptions from a control of a set, which can
// be nil. Without the control they have no effect.
func LimitsOf(set *evaluate.Set, id string) exception.Limits {
	if c := Control(set, id); c != nil {
		return c.Exceptions
	}
	return exception.Limits{}
}

// Days returns the days that the controls of a set, which can be nil, allow for
// findings.
func Days(set *evaluate.Set) func(id, severity string) (int, bool) {
	return func(id, severity string) (int, bool) {
		c := Control(set, id)
		if c == nil {
			return 0, false
		}
		period, ok := c.SLA[severity]
		return int(period / (24 * time.Hour)), ok
	}
}
