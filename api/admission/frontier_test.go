package admission

import (
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestLaggingReplica checks that a replica that lags behind undoes no
// revocation, whichever is asked first and whatever is asked.
func TestLaggingReplica(t *testing.T) {
	down := connect.NewError(connect.CodeUnavailable, errors.New("it is down"))
	fresh, late := newGate(), newGate()
	h := start(t, fresh, late)
	if !ask(t, h, call{object: podOf(good)}).Allowed {
		t.Fatal("the image is denied before it is revoked")
	}
	// Only the first replica gets the revocation.
	fresh.set(func() { fresh.revoked, fresh.size, fresh.now = true, 11, fresh.now.Add(30*time.Minute) })
	h.decider.renew(t.Context())
	if ask(t, h, call{object: podOf(good)}).Allowed {
		t.Fatal("the image is allowed after it is revoked")
	}
	fresh.set(func() {
		fresh.err = down
		fresh.now = fresh.now.Add(2 * time.Hour) // the cache is of no use
	})
	late.set(func() { late.now = fresh.now })
	denied := func(why string) {
		t.Helper()
		for _, c := range []call{{object: podOf(good)}, {object: podOf(good), dryRun: true}, {object: podOf(good), namespace: "late"}} {
			if res := ask(t, h, c); res.Allowed || !strings.Contains(res.Result.Message, why) {
				t.Errorf("%+v: want %q", res, why)
			}
		}
	}
	denied("replica 2: it lags behind: it has 10 entries of the log, and earlier answers were from 11")
	late.set(func() { late.noSet = true })
	if _, err := h.decider.asker.controlSet(t.Context()); err == nil || !strings.Contains(err.Error(), "it lags behind") {
		t.Errorf("a control set of an earlier state: %v", err)
	}
	late.set(func() { late.noSet = false })
	// It is asked first now, and is not used even while the other one answers.
	fresh.set(func() { fresh.err = nil })
	denied("missing-evidence")
	fresh.set(func() { fresh.err = down })
	// As soon as it has caught up, it is used.
	late.set(func() { late.size, late.revoked = 12, true })
	denied("missing-evidence")
	late.set(func() { late.revoked, late.size = false, 13 })
	fresh.set(func() { fresh.now = fresh.now.Add(2 * time.Hour) })
	late.set(func() { late.now = fresh.now })
	if res := ask(t, h, call{object: podOf(good)}); !res.Allowed {
		t.Errorf("allowed again: %+v", res)
	}
}

// TestStateOfAnswers checks which states of a log are accepted.
func TestStateOfAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(g *gate)
		want   string
	}{
		"the same":                 {func(*gate) {}, ""},
		"a later one":              {func(g *gate) { g.size++ }, ""},
		"an earlier one":           {func(g *gate) { g.size-- }, "it lags behind: it has 9 entries of the log, and earlier answers were from 10"},
		"an empty one":             {func(g *gate) { g.size = 0 }, "it lags behind"},
		"of another log":           {func(g *gate) { g.log, g.size = "b\x1b.example", 99 }, "and earlier answers were from log.example"},
		"unknown":                  {func(g *gate) { g.log = "" }, "it does not report the state of its log: upgrade it"},
		"a clock a little ahead":   {func(g *gate) { g.age = -MaxAhead }, ""},
		"a clock too far ahead":    {func(g *gate) { g.age = -MaxAhead - time.Second }, "its clock is 11s ahead of this one, and the limit is 10s"},
		"a time in the far future": {func(g *gate) { g.age = -200 * 365 * 24 * time.Hour }, "its clock is 1752000h0m0s ahead of this one"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := newGate(), newGate()
			c.change(second)
			h := start(t, first, second)
			if !ask(t, h, call{object: podOf(good)}).Allowed {
				t.Fatal("the first replica does not answer")
			}
			first.set(func() { first.err = connect.NewError(connect.CodeUnavailable, errors.New("it is down")) })
			other := strings.Replace(good, "aaaa", "aaab", 1) // it is not in the cache
			res := ask(t, h, call{object: podOf(other)})
			if res.Allowed != (c.want == "") || !res.Allowed && !strings.Contains(res.Result.Message, c.want) {
				t.Errorf("allowed: %t, %+v, want %q", res.Allowed, res.Result, c.want)
			}
			if _, err := h.decider.asker.controlSet(t.Context()); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("the control set: %v, want %q", err, c.want)
			}
			if age := h.Age(); age > 5*time.Minute {
				t.Errorf("age %s", age)
			}
		})
	}
}

// TestFrontier checks answers that arrive in another order than they were asked
// for.
func TestFrontier(t *testing.T) {
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	var f frontier
	at := func(size uint64) logState { return logState{log: "log.example", size: size, last: size + 1, asOf: now} }
	asked := f.reached()
	if err := f.advance(at(11), f.reached(), now); err != nil {
		t.Fatal(err)
	}
	if err := f.advance(at(10), asked, now); err != nil {
		t.Errorf("an answer that was asked for before the frontier advanced: %v", err)
	}
	if f.reached() != 12 {
		t.Errorf("reached %d, want 12", f.reached())
	}
	if err := f.advance(at(11), f.reached(), now); err == nil {
		t.Error("an earlier answer is accepted")
	}
	// One decision of an answer can be from an earlier state than the others.
	size := uint64(11)
	m := &munimentv1.DecideResponse{Log: "log.example", TreeSize: 13, Decisions: []*munimentv1.SubjectDecision{{Decision: &munimentv1.GateDecision{TreeSize: &size}}}}
	if err := f.advance(stateOfDecisions(m), f.reached(), now); err == nil {
		t.Error("a decision from an earlier state is accepted")
	}
}

// TestCacheKeepsNewerDecisions checks that a late answer replaces none from a
// later state of the log.
func TestCacheKeepsNewerDecisions(t *testing.T) {
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	of := func(size uint64, asked time.Duration) *decided {
		return &decided{treeSize: size, asked: now.Add(asked), decision: &munimentv1.SubjectDecision{Decision: &munimentv1.GateDecision{}}}
	}
	for _, c := range []struct {
		before, after *decided
		replaced      bool
	}{
		{of(10, 0), of(11, time.Second), true},
		{of(10, time.Second), of(11, 0), true},
		{of(10, 0), of(10, time.Second), true},
		{of(10, time.Second), of(10, 0), false},
		{of(11, 0), of(10, time.Second), false},
	} {
		k := newCache(1, 1<<20)
		k.put(c.before, now)
		kept := k.put(c.after, now)
		if (kept == c.after) != c.replaced || k.get(question{}, now) != kept {
			t.Errorf("a decision at size %d replaces one at size %d: %t, want %t", c.after.treeSize, c.before.treeSize, kept == c.after, c.replaced)
		}
	}
}
