package execute

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/playbook"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Trails implements Trails.
func (l *ledger) Trails() ([]Trail, time.Time, error) {
	if err := l.fault(false); err != nil {
		return nil, time.Time{}, err
	}
	of := map[string]*Trail{}
	add := func(r Recorded) {
		var m munimentv1.TriageAction
		if protojson.Unmarshal(r.Payload, &m) != nil || m.Incident == All {
			return
		}
		t := of[m.Incident]
		if t == nil {
			t = &Trail{Incident: m.Incident}
			of[m.Incident] = t
		}
		t.Entries = append(t.Entries, r)
	}
	for key, at := range l.entries {
		add(Recorded{Reference: at, Key: key, Time: l.times[at.Index], Submitter: robot, Payload: l.texts[key]})
	}
	for _, r := range l.requests {
		add(Recorded{Reference: r.Reference, Time: l.times[r.Index], Submitter: r.Submitter, Payload: r.Payload})
	}
	var all []Trail
	for _, t := range of {
		slices.SortFunc(t.Entries, func(a, b Recorded) int { return cmp.Compare(a.Index, b.Index) })
		t.Closed = t.ended(robot)
		t.Seen = t.Entries[len(t.Entries)-1].Time
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Trail) int { return strings.Compare(a.Incident, b.Incident) })
	return all, l.clock(), nil
}

// Uses implements Uses.
func (l *ledger) Uses(since time.Time) (all []Use) {
	for key, at := range l.entries {
		var m munimentv1.TriageAction
		if protojson.Unmarshal(l.texts[key], &m) != nil {
			continue
		}
		if u, ok := useOf(&m, l.times[at.Index]); ok && u.Recorded.After(since) {
			all = append(all, u)
		}
	}
	return all
}

// testSeal is that of all executors here.
func testSeal(t *testing.T, key byte) *Seal {
	t.Helper()
	s, err := NewSeal(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// twins makes two worlds those of executors that take over from each other.
func twins(t *testing.T, one, two *world) {
	t.Helper()
	two.ledger, two.fake, two.human = one.ledger, one.fake, one.human
	two.exec.Ledger, two.exec.Feed, two.exec.Actor, two.exec.Standby = one.ledger, one.ledger, "conductor@other", true
	two.exec.Key = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	one.ledger.clock = func() time.Time { return later(one.now, two.now) }
	for _, w := range []*world{one, two} {
		w.exec.Seal, w.exec.Trails, w.exec.Uses = testSeal(t, 7), one.ledger, one.ledger
	}
}

// calmTwins returns two executors without faults, of which the first has acted
// and is gone.
func calmTwins(t *testing.T) (one, two *world) {
	t.Helper()
	one, two = calm(t), calm(t)
	twins(t, one, two)
	one.advance(id, Settling)
	return one, two
}

// takeOver takes over and advances what is active. It returns the incident.
func (w *world) takeOver() *Incident {
	w.t.Helper()
	w.must(w.exec.Follow(w.t.Context()))
	w.must(w.exec.TakeOver(w.t.Context()))
	ids, err := w.exec.Store.Active()
	w.must(err)
	for _, id := range ids {
		if _, err := w.exec.Advance(w.t.Context(), id); err != nil {
			w.t.Fatal(err)
		}
	}
	i, err := w.exec.Store.Incident(id)
	w.must(err)
	return i
}

// TestTakeOver checks that the steps of an executor that is gone are undone by
// the other one once they are overdue, and that the first one finds that out.
func TestTakeOver(t *testing.T) {
	one, two := calmTwins(t)
	two.pass(10*time.Minute - time.Second) // urgent ends after 5 minutes
	if i := two.takeOver(); i != nil || two.exec.TakenOver != 0 {
		t.Fatalf("taken over too early: %+v", i)
	}
	two.pass(time.Second)
	i := two.takeOver()
	two.wantState("a=a0 b=b0 c=c0")
	const reason = "taken over from conductor@test, which has recorded nothing for 5m0s"
	if i == nil || i.State != Closed || i.Reason != reason || two.exec.TakenOver != 1 || len(i.Steps) != 4 || !i.recorded() {
		t.Fatalf("the incident: %+v", i)
	}
	if e := two.ledger.entry(t, "triage/"+id+"/takeover/1"); e.Detail != reason || e.Actor != "conductor@other" {
		t.Errorf("the notice: %v", e)
	}
	undo := two.ledger.entry(t, "triage/"+id+"/3/outcome")
	if undo.Result != "succeeded" || undo.Actor != "conductor@other" || undo.Undo.Action != "urgent" || undo.Undoes.GetIndex() != two.ledger.entries["triage/"+id+"/2/intent"].Index {
		t.Errorf("the undo: %v", undo)
	}
	intent := two.ledger.texts["triage/"+id+"/1/intent"]
	if !bytes.Contains(intent, []byte(`"sealed"`)) || bytes.Contains(intent, []byte(`"a0"`)) {
		t.Errorf("the intent has no sealed images: %s", intent)
	}
	calls, entries := len(one.fake.Calls()), len(one.ledger.entries)
	one.pass(two.now.Sub(one.now))
	if i := one.advance(id, Following); !i.Taken {
		t.Errorf("the first executor: %+v", i)
	}
	if i := one.takeOver(); i.State != Closed || i.Reason != "the other executor has closed it" {
		t.Errorf("the first executor: %+v", i)
	}
	if len(one.fake.Calls()) != calls || len(one.ledger.entries) != entries {
		t.Errorf("the first executor acts: %v, %d entries", one.fake.Calls(), len(one.ledger.entries))
	}
}

// TestTakeOverWhen checks what makes an incident overdue.
func TestTakeOverWhen(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(one, two *world)
		want string // the state of the targets five minutes later
	}{
		{"nothing", func(_, _ *world) {}, "a=a1 b=b1 c=c0"},
		{"cleared", func(_, two *world) {
			two.advance(id, Settling) // the targets are as it would set them
			two.takeOver()
			two.advance(id, Following)
			two.must(two.exec.Clear(id))
		}, "a=a0 b=b0 c=c0"},
		{"undo", func(one, _ *world) { one.submit(ada, ActionUndo, nil) }, "a=a0 b=b0 c=c0"},
		{"undo by eve", func(one, _ *world) { one.submit("oidc:https://id.example#eve", ActionUndo, nil) }, "a=a1 b=b1 c=c0"},
		{"misfire", func(one, _ *world) { one.submit(ada, ActionMisfire, nil) }, "a=a0 b=b0 c=c0"},
		{"killed", func(one, two *world) { one.submit(ada, ActionKill, nil); two.takeOver() }, "a=a0 b=b0 c=c0"},
		{"change of a person", func(one, _ *world) { one.fake.Put("b", "kim"); one.submit(ada, ActionUndo, nil) }, "a=a0 b=kim c=c0"},
		{"dry run", func(one, two *world) { one.submit(ada, ActionUndo, nil); two.exec.DryRun = true }, "a=a1 b=b1 c=c0"},
		{"the first is back", func(one, _ *world) {
			one.submit(ada, ActionUndo, nil)
			one.must(one.exec.Follow(t.Context()))
			one.advance(id, Closed)
		}, "a=a0 b=b0 c=c0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, two := calmTwins(t)
			two.exec.Actions.Actions["urgent"].UndoAfter = time.Hour
			c.do(one, two)
			before := two.fake.State()
			two.pass(silence - time.Second)
			two.takeOver()
			if two.fake.State() != before {
				t.Error("taken over too early")
			}
			two.pass(time.Second)
			two.takeOver()
			two.wantState(c.want)
			if q, err := two.exec.Store.quarantine("T"); err != nil || (q != nil) != (c.name == "misfire") {
				t.Errorf("quarantine: %v, %v", q, err)
			}
		})
	}
}

// TestTakeOverWithoutImages checks that people get what cannot be undone,
// because the images are too large or have another key.
func TestTakeOverWithoutImages(t *testing.T) {
	one, two := calm(t), calm(t)
	twins(t, one, two)
	one.fake.Put("b", strings.Repeat("b", maxSealed))
	one.advance(id, Settling)
	if text := one.ledger.texts["triage/"+id+"/2/intent"]; bytes.Contains(text, []byte("sealed")) {
		t.Error("an image above the limit is in an entry")
	}
	two.pass(time.Hour)
	i := two.takeOver()
	two.wantState("a=a0 b=b1 c=c0")
	if i.State != Escalated || i.Reason != "step 2 cannot be undone: restore b" {
		t.Fatalf("the incident: %s, %s", i.State, i.Reason)
	}
	two.submit(ada, ActionUndo, nil) // too early
	if i = two.takeOver(); i.State != Escalated {
		t.Errorf("an undo that was not done is %s", i.State)
	}
	two.fake.Put("b", "as before")
	two.submit(ada, ActionUndo, nil)
	if i = two.takeOver(); i.State != Closed || !i.recorded() {
		t.Errorf("after a person has restored the target: %s, %s", i.State, i.Reason)
	}

	for name, change := range map[string]func(e *Executor){
		"with another key":         func(e *Executor) { e.Seal = testSeal(t, 8) },
		"without the actions":      func(e *Executor) { clear(e.Actions.Actions) },
		"without their connectors": func(e *Executor) { clear(e.Connectors) },
	} {
		_, two := calmTwins(t)
		change(two.exec)
		two.pass(time.Hour)
		if i := two.takeOver(); i.State != Escalated {
			t.Errorf("%s: %s", name, i.State)
		}
		two.wantState("a=a1 b=b1 c=c0")
		if err := two.exec.Check(two.exec.Actions, two.exec.Connectors); err != nil {
			t.Errorf("%s: a configuration as it was: %v", name, err)
		}
	}
}

// TestTrailDamaged checks that nothing is taken over by entries that no
// executor has recorded so.
func TestTrailDamaged(t *testing.T) {
	_, two := calmTwins(t)
	two.pass(time.Hour)
	trails, now, err := two.ledger.Trails()
	two.must(err)
	whole := trails[0]
	for name, change := range map[string]func(*Trail){
		"entry missing":  func(t *Trail) { t.Entries = t.Entries[1:] },
		"order":          func(t *Trail) { t.Entries[0], t.Entries[2] = t.Entries[2], t.Entries[0] },
		"key":            func(t *Trail) { t.Entries[2].Key = "triage/" + id + "/9/intent" },
		"payload":        func(t *Trail) { t.Entries[1].Payload = []byte("[") },
		"submitter":      func(t *Trail) { t.Entries[0].Submitter = "token:other" },
		"erased":         func(t *Trail) { t.Fault = "the entry was erased" },
		"no executor":    func(t *Trail) { t.Entries = nil },
		"other incident": func(t *Trail) { t.Incident = "T/0123456789ab-2" },
	} {
		damaged := whole
		damaged.Entries = slices.Clone(whole.Entries)
		change(&damaged)
		if _, err := two.exec.course(&damaged, robot); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	two.exec.Trails = fixed{trails: []Trail{{Incident: id, Fault: "erased", Seen: whole.Seen}}, now: now}
	if i := two.takeOver(); i != nil {
		t.Errorf("taken over: %+v", i)
	}
}

// fixed are trails that do not change.
type fixed struct {
	trails []Trail
	now    time.Time
}

func (f fixed) Trails() ([]Trail, time.Time, error) { return f.trails, f.now, nil }

// TestTakeOverFlagd checks with the real file that a second executor restores
// it byte for byte.
func TestTakeOverFlagd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	const flags = "{\"flags\": {\"buffer\": {\"state\":\"ENABLED\",\n\t\"variants\": {\"on\": true, \"off\": false}, \"defaultVariant\":\"off\" }}}"
	if err := os.WriteFile(path, []byte(flags), 0o640); err != nil {
		t.Fatal(err)
	}
	one, two := calm(t), calm(t)
	twins(t, one, two)
	for _, w := range []*world{one, two} {
		w.exec.Connectors["flagd"] = connector.NewFlagd(path)
		a := *w.exec.Actions.Actions["careful"]
		a.Name, a.Connector, a.Target = "toggle", "flagd", "flag/buffer"
		w.exec.Actions.Actions["toggle"] = &a
		w.steps = []playbook.Step{{Action: &a, Target: a.Target, Parameters: map[string]action.Value{"variant": {Text: "on", Type: action.String, Given: true}}}}
	}
	one.advance(id, Settling)
	if got, err := os.ReadFile(path); err != nil || string(got) == flags {
		t.Fatalf("the first executor has not acted: %q, %v", got, err)
	}
	two.pass(time.Hour)
	if i := two.takeOver(); i.State != Closed {
		t.Errorf("the incident: %+v", i)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != flags {
		t.Errorf("the file is %q, %v, want %q", got, err, flags)
	}
}

// TestNoStepAfterSilence checks that an executor without the ledger takes no
// step of an incident that another can have taken over meanwhile.
func TestNoStepAfterSilence(t *testing.T) {
	one, two := calm(t), calm(t)
	twins(t, one, two)
	one.steps = []playbook.Step{one.stepOf("careful"), one.stepOf("last"), one.stepOf("urgent")}
	one.exec.Actions.Actions["careful"].UndoAfter = time.Hour
	one.advance(id, Waiting)
	one.answer(ada, ActionApprove)
	one.must(one.exec.Follow(context.Background()))
	one.pass(3 * time.Minute)
	one.ledger.fault = func(bool) error { return context.DeadlineExceeded }
	one.must(one.exec.Open(one.opening()))
	if _, err := one.exec.Advance(t.Context(), id); err == nil {
		t.Error("no error without the ledger")
	}
	one.wantState("a=a0 b=b0 c=c0")
}

// TestEarlierIncident checks that an executor with the identifier of an earlier
// incident asks people, and does not wait for an executor that does not act.
func TestEarlierIncident(t *testing.T) {
	one, two := calmTwins(t)
	one.must(one.exec.Clear(id))
	one.advance(id, Closed)
	two.pass(time.Hour)
	o := two.opening()
	o.Began = two.now
	two.must(two.exec.Open(o))
	two.advance(id, Following)
	if i := two.takeOver(); i.State != Escalated || !strings.Contains(i.Reason, "earlier incident") {
		t.Errorf("the incident: %s, %s", i.State, i.Reason)
	}
	two.must(two.exec.Clear(id))
	two.takeOver()
	if i := two.takeOver(); i.State != Closed {
		t.Errorf("the incident: %s, %s", i.State, i.Reason)
	}
	two.wantState("a=a0 b=b0 c=c0")
}

// TestTakenAtOpening checks that an incident that the ledger has at its opening
// is followed with a takeover key, and otherwise passed to people by the
// executor that has to act without the ledger.
func TestTakenAtOpening(t *testing.T) {
	for _, c := range []struct {
		trails, standby bool
		want            State
	}{{true, false, Following}, {true, true, Following}, {false, true, Closed}, {false, false, Escalated}} {
		w := calm(t)
		w.ledger.clock = func() time.Time { return w.now }
		if w.exec.Standby = c.standby; c.trails {
			w.exec.Trails = w.ledger
		}
		o := w.opening()
		o.Taken = true
		w.must(w.exec.Open(o))
		w.advance(id, c.want)
		w.wantState("a=a0 b=b0 c=c0")
		w.must(w.exec.Clear(id))
		if !c.trails {
			w.advance(id, Closed)
		}
	}
}

// TestLapseAlone checks that an action that lapses runs once if one executor
// alone has lost the ledger: without takeover it runs without the ledger, and
// with it only the executor that has the ledger takes the step.
func TestLapseAlone(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		one, two := calm(t), calm(t)
		twins(t, one, two)
		one.exec.Standby, two.exec.Standby = false, true
		for _, w := range []*world{one, two} {
			if !takeover {
				w.exec.Trails, w.exec.Seal = nil, nil
			}
			w.exec.Connectors["fake"] = lapsing{one.fake}
			w.exec.Actions.Actions["urgent"].Undo = action.Lapse
			w.steps = []playbook.Step{w.stepOf("urgent")}
		}
		one.ledger.fault = func(bool) error { return errors.New("no connection") }
		one.must(one.exec.Open(one.opening()))
		state, _ := one.exec.Advance(t.Context(), id)
		calls := len(one.fake.Calls())
		if takeover && (state != Closed || calls != 0) || !takeover && (state != Settling || calls != 1) {
			t.Errorf("takeover %v: %s, %d calls without the ledger", takeover, state, calls)
		}
		if !takeover {
			continue
		}
		one.ledger.fault = func(bool) error { return nil }
		two.advance(id, Settling)
		if i := one.advance(id, Following); i.Steps[0].Reason != "the ledger is unreachable" {
			t.Errorf("the executor without the ledger: %+v", i)
		}
		if calls := one.fake.Calls(); len(calls) != 1 {
			t.Errorf("calls: %v", calls)
		}
	}
}

// TestBudgetsAfterTakeOver checks that what an executor has used of a cooldown
// and of budgets counts for the one that has taken over, and for itself after
// its state was lost. An executor does not count its own intents twice.
func TestBudgetsAfterTakeOver(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(a *action.Action, all *action.Budgets)
	}{
		{"none", "", func(*action.Action, *action.Budgets) {}},
		{"cooldown", "refused: the cooldown of a: 1 in 1h0m0s", func(a *action.Action, _ *action.Budgets) { a.Cooldown = time.Hour }},
		{"target", "refused: the budget of a: 2 in 1h0m0s", func(a *action.Action, _ *action.Budgets) { a.PerTarget.Actions = 2 }},
		{"all", "refused: the budget of all actions: 2 in 1h0m0s", func(_ *action.Action, all *action.Budgets) { all.ActionsPerHour = 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, two, lost := calm(t), calm(t), calm(t)
			twins(t, one, two)
			twins(t, one, lost)
			for _, w := range []*world{one, two, lost} {
				w.steps = []playbook.Step{w.stepOf("careful")}
			}
			act := func(w *world, n string) *Incident {
				t.Helper()
				o := w.opening()
				o.ID = strings.TrimSuffix(id, "1") + n
				w.must(w.exec.Open(o))
				_, err := w.exec.Advance(t.Context(), o.ID)
				w.must(err)
				i, err := w.exec.Store.Incident(o.ID)
				w.must(err)
				w.must(w.exec.Clear(o.ID))
				_, err = w.exec.Advance(t.Context(), o.ID)
				w.must(err)
				return i
			}
			act(one, "1")
			one.pass(10 * time.Minute)
			for n, w := range []*world{one, two, lost} {
				w.pass(one.now.Sub(w.now))
				a, all := w.exec.Actions.Actions["careful"], &w.exec.Actions.Budgets
				if c.set(a, all); w == one {
					a.Cooldown = time.Second
				}
				want := c.want
				if w == one { // it has used one of two
					want = ""
				}
				if got := act(w, fmt.Sprint(2+n)).Reason; got != want {
					t.Errorf("executor %d: %q, want %q", n, got, want)
				}
				one.pass(time.Minute)
			}
		})
	}
}
