package execute

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/internal/soak"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A troupe is two executors with one ledger and one set of targets, which take
// over from each other. Each can be gone for some time, or for good.
type troupe struct {
	*testing.T
	all  [2]*world
	gone [2]bool
}

func newTroupe(t *testing.T, seed uint64) *troupe {
	one, two := newWorld(t, seed*2), newWorld(t, seed*2+1)
	twins(t, one, two)
	two.steps = one.steps
	return &troupe{T: t, all: [2]*world{one, two}}
}

// use makes the faults of the ledger those of an executor.
func (p *troupe) use(n int) *world {
	w := p.all[n]
	w.ledger.fault = func(bool) error { return w.fault() }
	return w
}

// sync gives both the same clock.
func (p *troupe) sync() {
	for n, w := range p.all {
		if d := p.all[1-n].now.Sub(w.now); d > 0 {
			w.pass(d)
		}
	}
}

// disturb runs a schedule of faults.
func (p *troupe) disturb() {
	rng := p.all[0].rng
	for range 40 + rng.IntN(80) {
		n := rng.IntN(2)
		if rng.IntN(12) == 0 {
			p.gone[n] = !p.gone[n] && !p.gone[1-n]
		}
		w := p.use(n)
		switch {
		case p.gone[n]:
			w.pass(time.Duration(rng.IntN(90)) * time.Second)
		case rng.IntN(4) == 0:
			w.run(func() { w.ignore(w.exec.TakeOver(context.Background())) })
		default:
			w.event()
		}
		p.sync()
	}
}

// finish runs some executors without faults until the ledger has the end of the
// incident.
func (p *troupe) finish(who ...int) {
	for _, n := range who {
		w := p.use(n)
		w.calm, w.down = true, false
		p.must(w.exec.Open(w.opening()))
		p.must(w.exec.Clear(id))
	}
	for minutes := range 200 {
		busy := false
		for _, n := range who {
			w := p.use(n)
			p.must(w.exec.Follow(context.Background()))
			p.must(w.exec.TakeOver(context.Background()))
			ids, err := w.exec.Store.Active()
			p.must(err)
			for range ids {
				busy = true
				state, err := w.exec.Advance(context.Background(), id)
				if state == Escalated && minutes%20 == 19 { // an undo has failed too often
					w.submit(ada, ActionUndo, nil)
				}
				if err != nil && minutes == 199 {
					p.Errorf("executor %d: %s, %v", n, state, err)
				}
			}
			w.pass(time.Minute)
			p.sync()
		}
		if !busy {
			return
		}
	}
	for _, n := range who {
		i, err := p.all[n].exec.Store.Incident(id)
		p.Errorf("executor %d does not end: %+v, %v", n, i, err)
	}
}

func (p *troupe) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// entries returns those of the executors about the incident.
func (p *troupe) entries() (all []*munimentv1.TriageAction) {
	p.Helper()
	l := p.all[0].ledger
	l.fault = func(bool) error { return nil }
	trails, _, err := l.Trails()
	p.must(err)
	for _, t := range trails {
		for _, r := range t.Entries {
			var m munimentv1.TriageAction
			p.must(protojson.Unmarshal(r.Payload, &m))
			if r.by(robot, t.Incident) {
				all = append(all, &m)
			}
		}
	}
	return all
}

// check checks the invariants. Lost are the executors that are gone for good.
func (p *troupe) check(lost ...int) (takeovers int) {
	effects := map[connectortest.Call]int{}
	for _, c := range p.all[0].fake.Calls() {
		// An action that runs without the ledger can be that of both.
		if effects[c]++; effects[c] > 1 && c.Target != "b" || effects[c] > 2 {
			p.Errorf("%+v took effect %d times", c, effects[c])
		}
	}
	var told strings.Builder
	intents, closes := map[uint32]*munimentv1.TriageAction{}, 0
	last := map[uint64]string{} // the result of the latest undo, by intent
	confirmed := map[uint64]*munimentv1.TriageAction{}
	for _, m := range p.entries() {
		switch {
		case m.Phase == "intent":
			if len(intents)+1 != int(m.Step) || len(intents) > 0 && intents[m.Step-1] != nil && intents[m.Step-1].Result == "" {
				p.Errorf("step %d comes after an unfinished one", m.Step)
			}
			intents[m.Step] = m
		case m.Phase == "outcome":
			intents[m.Step].Result = m.Result
			if m.Result == "succeeded" || strings.Contains(m.Detail, ": foreign") {
				told.WriteString(m.Detail + "\n")
			}
			if m.Undoes != nil {
				last[m.Undoes.GetIndex()] = m.Detail
			} else if m.Result == "succeeded" {
				confirmed[m.Intent.GetIndex()] = m
			}
		case m.Action == ActionReplaced:
			told.WriteString(m.Detail + "\n")
		case m.Action == ActionTakeover:
			takeovers++
		case m.Action == ActionClose:
			closes++
		}
	}
	for n := range p.all {
		i, err := p.all[n].exec.Store.Incident(id)
		p.must(err)
		if i == nil {
			continue
		}
		for _, s := range i.Steps {
			if s.untold() && slices.Contains(lost, n) {
				fmt.Fprintf(&told, "sha256:%s to sha256:%s", s.digest(false), s.digest(true))
			}
		}
	}
	for c := range effects {
		if !strings.Contains(told.String(), fmt.Sprintf("sha256:%s to sha256:%s", sum([]byte(c.Before)), sum([]byte(c.After)))) {
			p.Errorf("%+v took effect, and no entry states it", c)
		}
	}
	for step, m := range intents {
		if m.Result == "" {
			p.Errorf("step %d has no outcome", step)
		}
	}
	for index, m := range confirmed {
		if end := last[index]; !strings.Contains(end, ": confirmed") && !strings.Contains(end, ": kept") && !strings.Contains(end, ": foreign") {
			p.Errorf("step %d is not undone: %q", m.Step, end)
		}
	}
	if closes != 1 && len(intents) > 0 {
		p.Errorf("%d entries of the end", closes)
	}
	for _, target := range []string{"a", "b", "c"} {
		want := target + "0"
		if h := p.all[0].human[target]; h != "" {
			want = h
		}
		// Images do not distinguish the states after the actions of both.
		both := 0
		for c, n := range effects {
			if c.Target == "b" && c.After == "b1" {
				both += n
			}
		}
		if got, _ := p.all[0].fake.Read(context.Background(), target); string(got) != want && (target != "b" || both < 2) {
			p.Errorf("target %s is %s, want %s", target, got, want)
		}
	}
	return takeovers
}

// TestTwinFaults runs two executors that take over from each other under seeded
// schedules of faults, in which each can be gone for some time. At the end, one
// is gone for good in half of the schedules, and otherwise comes back after the
// other one has ended the incident.
func TestTwinFaults(t *testing.T) {
	soak.WithoutRace(t)
	seed, n := soak.Seed(t), soak.Length(t, "schedules of two executors with takeover", 300, 10_000)
	takeovers, replaced, back := 0, 0, 0
	for k := range n {
		p := newTroupe(t, seed<<32+uint64(k))
		forGood := k%2 == 0
		if forGood { // what it does without the ledger is lost with it
			for _, w := range p.all {
				w.steps = []playbook.Step{w.stepOf("careful"), w.stepOf("last")}
			}
		}
		p.disturb()
		survivor := p.all[0].rng.IntN(2)
		p.finish(survivor)
		if forGood {
			takeovers += p.check(1 - survivor)
		} else {
			before := p.all[0].fake.Calls()
			p.finish(1 - survivor)
			takeovers += p.check()
			after := p.all[0].fake.Calls()[len(before):]
			i, err := p.all[1-survivor].exec.Store.Incident(id)
			p.must(err)
			for _, c := range after {
				if !i.Taken {
					continue
				}
				back++
				if !slices.ContainsFunc(i.Steps, func(s *Step) bool { return s.Intent.Recorded == nil && bytes.Equal(s.Before, []byte(c.Before)) }) {
					t.Errorf("the executor that was replaced acts: %+v", c)
				}
			}
		}
		for _, m := range p.entries() {
			if m.Action == ActionReplaced {
				replaced++
			}
		}
		for _, w := range p.all {
			w.exec.Store.fault = nil
			w.must(w.exec.Store.Close())
		}
		if t.Failed() {
			for _, m := range p.entries() {
				t.Logf("%s %s %d %s by %s at %s", m.Action, m.Phase, m.Step, m.Detail, m.Actor, m.Started.AsTime())
			}
			t.Fatalf("schedule %d of seed %d, survivor %d", k, seed, survivor)
		}
	}
	t.Logf("%d takeovers, %d notices of executors that were replaced, %d effects that these ended", takeovers, replaced, back)
	if takeovers < n/20 || replaced == 0 || back == 0 {
		t.Error("the schedules do not test takeovers")
	}
}
