package run

import (
	"maps"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

type events struct {
	quiet
	seen []string
}

func (e *events) Event(what string, details any) {
	e.seen = append(e.seen, what+" "+details.(throttle.Decision).Reason.String())
}

// TestAccount follows decisions of the throttle and the waits between them. A
// wait for a person counts for no input.
func TestAccount(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	watch := &events{}
	r := &Runner{Options: Options{Job: &job.Job{Name: "asset"}, Watch: watch, Now: func() time.Time { return now }}}
	r.defaults()
	a := newAccount(r)
	slow := throttle.Decision{Rate: 0.5, Reason: throttle.Reason{Input: throttle.Query, Value: 8, Limit: 10}}
	wait := throttle.Decision{Reason: throttle.Reason{Input: throttle.Query, Value: 25, Limit: 10}}
	closed := throttle.Decision{Reason: throttle.Reason{Input: throttle.WindowInput}}
	for _, step := range []func(){
		func() { a.decided(throttle.Decision{Rate: 1}) },
		func() { a.decided(slow) }, // for 2 s
		func() { a.decided(slow) },
		func() { a.decided(wait) }, // for 1 s
		func() { a.hold(metrics.Paused) },
		func() { now = now.Add(time.Hour) },
		func() { a.decided(closed) }, // for 1 s
		func() { a.decided(throttle.Decision{Rate: 1}) },
		func() { a.decided(throttle.Decision{Rate: 1}) },
	} {
		step()
		now = now.Add(time.Second)
	}
	want := map[string]int64{"slowed_ms/query": 3000, "waited_ms/query": 1000, "slowdowns/query": 1, "slowed_ms/window": 1000, "waited_ms/window": 1000, "slowdowns/window": 1}
	if !maps.Equal(a.counts, want) {
		t.Errorf("counters %v, want %v", a.counts, want)
	}
	if want := map[string]int64{"greatest_share/query": 2500}; !maps.Equal(a.greatest, want) {
		t.Errorf("greatest shares %v, want %v", a.greatest, want)
	}
	if len(watch.seen) != 3 || watch.seen[1] != "slowed query 25 of 10" {
		t.Errorf("events %q", watch.seen)
	}
}
