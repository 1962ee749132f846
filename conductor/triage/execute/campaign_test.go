package execute

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/internal/soak"
)

// settle ends the faults and the incident.
func (w *world) settle() *Incident {
	w.calm, w.down = true, false
	if err := w.exec.Open(w.opening()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.exec.Clear(id); err != nil {
		w.t.Fatal(err)
	}
	var state State
	var err error
	for range 100 {
		if state == Escalated { // an undo has failed too often
			w.submit("oidc:https://id.example#ada", ActionUndo, nil)
		}
		w.must(w.exec.Follow(context.Background()))
		if state, err = w.exec.Advance(context.Background(), id); state == Closed && err == nil {
			break
		}
		w.pass(time.Minute)
	}
	i, stored := w.exec.Store.Incident(id)
	active, listed := w.exec.Store.Active()
	if stored != nil || listed != nil || state != Closed || err != nil || !i.recorded() || len(active) > 0 {
		w.t.Fatalf("the incident is %s: %v, %v, %v; active: %v", state, err, stored, listed, active)
	}
	return i
}

// check checks the invariants.
func (w *world) check(i *Incident) {
	t := w.t
	effects := map[connectortest.Call]int{}
	for _, c := range w.fake.Calls() {
		if effects[c]++; effects[c] > 1 {
			t.Errorf("%+v took effect twice", c)
		}
	}
	if len(w.early) > 0 {
		t.Errorf("before the intent: %q", w.early)
	}
	if w.ledger.taken > 0 {
		t.Errorf("%d entries were sent with other bytes", w.ledger.taken)
	}
	if len(w.ledger.entries) != 2*len(i.Steps)+len(i.Notices) {
		t.Errorf("%d entries of %d steps and %d notices", len(w.ledger.entries), len(i.Steps), len(i.Notices))
	}
	w.checkNotices(i)
	confirmed, foreign := map[connectortest.Call]int{}, map[connectortest.Call]int{}
	for _, s := range i.Steps {
		key := fmt.Sprintf("triage/%s/%d/", id, s.Number)
		intent, outcome := w.ledger.entry(t, key+"intent"), w.ledger.entry(t, key+"outcome")
		at := w.ledger.entries[key+"intent"]
		if intent.Step != uint32(s.Number) || outcome.Intent.GetIndex() != at.Index || outcome.Intent.GetLeafHash() != at.LeafHash || outcome.Result != results[s.State] || outcome.WithoutLedger != s.Spooled ||
			at.Index >= w.ledger.entries[key+"outcome"].Index {
			t.Errorf("step %d: %v, %v", s.Number, intent, outcome)
		}
		if s.Undoes == 0 && s.Approval && (s.Approved == nil || s.Approved.Index >= at.Index || !strings.Contains(intent.Detail, fmt.Sprintf("approved by entry %d", s.Approved.Index))) {
			t.Errorf("step %d was not approved before its intent: %v", s.Number, s.Approved)
		}
		call := connectortest.Call{Target: s.Target, Before: string(s.Before), After: string(s.After)}
		switch s.State {
		case Confirmed:
			confirmed[call]++
		case Foreign: // it can have taken effect before somebody else's change
			foreign[call]++
		}
		if s.Undoes == 0 && s.State == Confirmed && (s.Undone == "" || s.Undone == Failed) {
			t.Errorf("step %d is not undone: %q", s.Number, s.Undone)
		}
	}
	for call, n := range confirmed {
		if n > effects[call] {
			t.Errorf("%+v is confirmed %d times, and took effect %d times", call, n, effects[call])
		}
	}
	for call, n := range effects {
		if n > confirmed[call]+foreign[call] {
			t.Errorf("%+v took effect, and no outcome states it", call)
		}
	}
	for _, target := range []string{"a", "b", "c"} {
		want := target + "0"
		if w.human[target] != "" {
			want = w.human[target]
		}
		if got, _ := w.fake.Read(context.Background(), target); string(got) != want {
			t.Errorf("target %s is %s, want %s", target, got, want)
		}
	}
}

// checkNotices checks the entries about the incident as a whole.
func (w *world) checkNotices(i *Incident) {
	t := w.t
	actions := map[string]int{}
	for _, n := range i.Notices {
		actions[n.Action]++
		if m := w.ledger.entry(t, n.key(id)); m.Action != n.Action || m.Phase != "" || m.Detail != n.Reason || m.Incident != id {
			t.Errorf("notice %s: %v", n.Action, m)
		}
	}
	q, err := w.exec.Store.quarantine("T")
	w.must(err)
	released := slices.ContainsFunc(w.ledger.requests, func(r Request) bool { return bytes.Contains(r.Payload, []byte(ActionRelease)) })
	if actions[ActionClose] > 1 || (actions[ActionQuarantine] > 0) != i.Misfire.Misfired || i.Misfire.Misfired && q == nil && !released {
		t.Errorf("notices %v, quarantine %v", actions, q)
	}
	for _, s := range i.Steps {
		if s.Approved == nil {
			continue
		}
		at := slices.IndexFunc(w.ledger.requests, func(r Request) bool { return r.Index == s.Approved.Index })
		if at < 0 || w.ledger.requests[at].Submitter != "oidc:https://id.example#ada" {
			t.Errorf("step %d was approved by entry %d, whose submitter may not", s.Number, s.Approved.Index)
		}
	}
}

// TestFaults runs an incident under seeded schedules of crashes, lost answers,
// delayed and failed calls, outages of the ledger, changes by people and steps
// of the clock. Each action takes effect at most once, each is recorded, and
// each is undone or kept for the change of a person.
func TestFaults(t *testing.T) {
	soak.WithoutRace(t)
	seed, n := soak.Seed(t), soak.Length(t, "schedules of faults", 300, 10_000)
	acted, states, notices := 0, map[StepState]int{}, map[string]int{}
	for k := range n {
		w := newWorld(t, seed<<32+uint64(k))
		for range 30 + w.rng.IntN(90) {
			w.event()
		}
		i := w.settle()
		w.check(i)
		acted += len(w.fake.Calls())
		for _, s := range i.Steps {
			states[s.State]++
			if s.Approved != nil && s.State == Confirmed && s.Undoes == 0 {
				notices[ActionApprove]++
			}
		}
		for _, n := range i.Notices {
			notices[n.Action]++
		}
		w.exec.Store.fault = nil
		if err := w.exec.Store.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Fatalf("schedule %d of seed %d", k, seed)
		}
	}
	t.Logf("%d effects; steps by state: %v; notices and approved steps: %v", acted, states, notices)
	for _, state := range []StepState{Confirmed, Failed, Foreign, Skipped, Kept} {
		if states[state] == 0 {
			t.Errorf("no step became %s: the schedules do not test it", state)
		}
	}
	for _, action := range []string{ActionApprove, ActionRequestApproval, ActionEscalate, ActionQuarantine, ActionClose} {
		if notices[action] == 0 {
			t.Errorf("no %s: the schedules do not test it", action)
		}
	}
}
