package execute

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/internal/soak"
)

// newPair returns two executors with one ledger and one set of targets, which
// see the same incident. The second takes no step without the ledger.
func newPair(t *testing.T, seed uint64) (pair [2]*world) {
	for n := range pair {
		w := newWorld(t, seed*2+uint64(n))
		w.steps = []playbook.Step{w.stepOf("careful"), w.stepOf("last")}
		if n > 0 {
			w.ledger, w.fake, w.human = pair[0].ledger, pair[0].fake, pair[0].human
			w.exec.Ledger, w.exec.Feed, w.exec.Actor, w.exec.Standby = w.ledger, w.ledger, "conductor@other", true
		}
		pair[n] = w
	}
	return pair
}

// TestTwoFaulty runs two executors against one incident under seeded schedules
// of faults. The intent in the ledger is the lease: each action takes effect at
// most once, and the executor without it changes nothing.
func TestTwoFaulty(t *testing.T) {
	soak.WithoutRace(t)
	seed, n := soak.Seed(t), soak.Length(t, "schedules of two executors", 60, 5_000)
	acted := [2]int{}
	for k := range n {
		pair := newPair(t, seed<<32+uint64(k))
		one := pair[0]
		for range 30 + one.rng.IntN(60) {
			w := pair[one.rng.IntN(2)]
			w.ledger.fault = func(bool) error { return w.fault() }
			if pair[0].now.After(w.now) {
				w.pass(pair[0].now.Sub(w.now))
			}
			w.event()
		}
		confirmed := map[connectortest.Call]int{}
		for m, w := range pair {
			w.ledger.fault = func(bool) error { return w.fault() }
			i := w.settle()
			calls := 0
			for _, s := range i.Steps {
				if !s.Called.IsZero() {
					calls++
				}
				if s.State == Confirmed || s.State == Foreign {
					confirmed[connectortest.Call{Target: s.Target, Before: string(s.Before), After: string(s.After)}]++
				}
				for phase, e := range map[string]Entry{"intent": s.Intent, "outcome": s.Outcome} {
					if key := fmt.Sprintf("triage/%s/%d/%s", id, s.Number, phase); !i.Taken && !bytes.Equal(w.ledger.texts[key], e.Payload) {
						t.Errorf("executor %d: the ledger has another entry %s", m, key)
					}
				}
			}
			if i.Taken && calls > 0 {
				t.Errorf("executor %d has no lease, and has called a connector %d times", m, calls)
			}
			acted[m] += calls
		}
		effects := map[connectortest.Call]int{}
		for _, c := range one.fake.Calls() {
			if effects[c]++; effects[c] > 1 || confirmed[c] == 0 {
				t.Errorf("%+v took effect %d times, and %d outcomes state it", c, effects[c], confirmed[c])
			}
		}
		for _, target := range []string{"a", "c"} {
			want := target + "0"
			if one.human[target] != "" {
				want = one.human[target]
			}
			if got, _ := one.fake.Read(context.Background(), target); string(got) != want {
				t.Errorf("target %s is %s, want %s", target, got, want)
			}
		}
		for _, w := range pair {
			w.exec.Store.fault = nil
			w.must(w.exec.Store.Close())
		}
		if t.Failed() {
			t.Fatalf("schedule %d of seed %d", k, seed)
		}
	}
	t.Logf("calls of the two executors: %v", acted)
	if acted[0] == 0 || acted[1] == 0 {
		t.Error("only one executor ever acts: the schedules do not test the lease")
	}
}
