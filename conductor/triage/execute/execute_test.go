package execute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/conductor/triage/playbook"
)

// calm returns a world without faults, whose steps are in order.
func calm(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 0)
	w.calm = true
	w.steps = []playbook.Step{w.stepOf("careful"), w.stepOf("urgent")}
	t.Cleanup(func() {
		if err := w.exec.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) stepOf(name string) playbook.Step {
	a := w.exec.Actions.Actions[name]
	return playbook.Step{Action: a, Target: a.Target, Parameters: map[string]action.Value{"value": {Text: a.Target + "1", Type: action.String, Given: true}}}
}

// advance opens an incident with an ID and advances it.
func (w *world) advance(id string, want State) *Incident {
	w.t.Helper()
	o := w.opening()
	o.ID = id
	if err := w.exec.Open(o); err != nil {
		w.t.Fatal(err)
	}
	state, err := w.exec.Advance(context.Background(), id)
	i, stored := w.exec.Store.Incident(id)
	if err != nil || stored != nil || state != want {
		w.t.Fatalf("the incident is %s, want %s: %v, %v: %+v", state, want, err, stored, i)
	}
	return i
}

func (w *world) wantState(want string) {
	w.t.Helper()
	if got := strings.ReplaceAll(w.fake.State(), "\n", " "); got != want+" " {
		w.t.Errorf("state %s, want %s", got, want)
	}
}

// TestIncident follows an incident from its first step to the undo of both.
func TestIncident(t *testing.T) {
	w := calm(t)
	w.advance("T/x-1", Settling)
	w.wantState("a=a1 b=b1 c=c0")
	if err := w.exec.Clear("T/x-1"); err != nil {
		t.Fatal(err)
	}
	i := w.advance("T/x-1", Closed)
	w.wantState("a=a0 b=b0 c=c0")
	if len(i.Steps) != 4 || i.Steps[2].Undoes != 2 || i.Steps[3].Undoes != 1 || i.Reason != "the condition has cleared" {
		t.Errorf("steps: %+v", i)
	}
	first, undo := w.ledger.entry(t, "triage/T/x-1/1/outcome"), w.ledger.entry(t, "triage/T/x-1/4/outcome")
	if first.Action != "careful" || first.Undo.Action != "restore" || first.Playbook != "T" || first.Actor != "conductor@test" || !strings.HasSuffix(first.Detail, ": confirmed") || strings.Contains(first.Detail, "a1") {
		t.Errorf("the outcome of the first step: %v", first)
	}
	if undo.Action != "restore" || undo.Undo.Action != "careful" || undo.Undoes.GetIndex() != w.ledger.entries["triage/T/x-1/1/intent"].Index || undo.Correlation.Alerts[0] != "Errors" {
		t.Errorf("the outcome of its undo: %v", undo)
	}
}

// TestUndoAfter checks that effects end without any other event.
func TestUndoAfter(t *testing.T) {
	w := calm(t)
	w.advance("T/x-1", Settling)
	w.pass(5*time.Minute - time.Second)
	w.advance("T/x-1", Settling)
	w.pass(time.Second) // undo_after of urgent
	if i := w.advance("T/x-1", Closed); i.Reason != "the time of the actions is over" {
		t.Errorf("reason: %s", i.Reason)
	}
	w.wantState("a=a0 b=b0 c=c0")
}

// TestChangeByPerson checks that the change of a person is never reverted.
func TestChangeByPerson(t *testing.T) {
	w := calm(t)
	w.advance("T/x-1", Settling)
	w.fake.Put("b", "kim")
	w.pass(time.Hour)
	if i := w.advance("T/x-1", Closed); i.Steps[1].Undone != Kept || i.Steps[0].Undone != Confirmed {
		t.Errorf("undone: %s, %s", i.Steps[0].Undone, i.Steps[1].Undone)
	}
	w.wantState("a=a0 b=kim c=c0")
	if e := w.ledger.entry(t, "triage/T/x-1/3/outcome"); e.Result != "skipped" || !strings.Contains(e.Detail, "kept, the target was changed after the intent") {
		t.Errorf("the outcome of the undo: %v", e)
	}
}

// TestGuardRails checks each refusal, also after a restart.
func TestGuardRails(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(w *world)
		want   string
	}{
		{"cooldown", func(w *world) { w.advance("T/y-1", Settling); w.pass(999 * time.Millisecond) }, "the cooldown of a: 1 in 1s"},
		{"budget of the target", func(w *world) {
			w.exec.Actions.Actions["careful"].PerTarget.Actions = 1
			w.advance("T/y-1", Settling)
			w.pass(time.Hour - time.Second)
		}, "the budget of a: 1 in 1h0m0s"},
		{"budget of all", func(w *world) {
			w.exec.Actions.Budgets.ActionsPerHour = 2
			w.advance("T/y-1", Settling)
			w.pass(time.Minute)
		}, "the budget of all actions: 2 in 1h0m0s"},
		{"effect of another incident", func(w *world) { w.advance("T/y-1", Settling); w.pass(time.Minute) }, "a is changed by the incident T/y-1, whose effect has not ended"},
		{"quarantine", func(w *world) {
			w.must(w.exec.Store.write(map[string]any{rowQuarantine + "T": &Quarantine{Incident: "T/z-1", Reason: "it misfired"}}))
		}, "the type is in quarantine since T/z-1: it misfired"},
		{"kill switch", func(w *world) { w.must(w.exec.Store.Kill(true)) }, "the kill switch is on"},
		{"file kill", func(w *world) { w.touch(KillFile) }, "the kill switch is on"},
		{"dry run after a restart", func(w *world) { w.must(w.exec.Open(w.opening())); w.exec.DryRun = true }, "dry run"},
		{"no such action any more", func(w *world) { delete(w.exec.Actions.Actions, "careful") }, "the action careful does not exist any more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := calm(t)
			c.before(w)
			w.must(w.exec.Store.Close())
			w.open()
			entries, state := len(w.ledger.entries), w.fake.State()
			i := w.advance(id, Escalated)
			if !strings.Contains(i.Reason, c.want) || len(i.Steps) != 0 {
				t.Errorf("reason %q, want %q; %d steps", i.Reason, c.want, len(i.Steps))
			}
			if len(w.ledger.entries) != entries+1 || w.fake.State() != state {
				t.Errorf("%d entries more, state\n%s", len(w.ledger.entries)-entries, w.fake.State())
			}
			if e := w.ledger.entry(t, "triage/"+id+"/escalate/1"); e.Detail != i.Reason || e.Result != "succeeded" {
				t.Errorf("the notice: %v", e)
			}
			w.must(w.exec.Clear(id))
			w.advance(id, Closed)
		})
	}
	w := calm(t)
	w.exec.Actions.Budgets.IncidentsPerHour = 1
	w.advance("T/y-1", Settling)
	if err := w.exec.Open(w.opening()); !errors.Is(err, ErrRefused) {
		t.Errorf("a second incident: %v", err)
	}
	w.must(w.exec.Store.Kill(true))
	w.advance("T/y-1", Closed)
	w.wantState("a=a0 b=b0 c=c0")
}

// touch creates a file beside the folder of the store.
func (w *world) touch(name string) {
	w.t.Helper()
	f, err := w.fs.Create(name, vfs.WriteCategoryUnspecified)
	w.must(err)
	w.must(f.Close())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestLedgerDown checks that only marked actions run without the ledger, and
// that their entries are recorded later.
func TestLedgerDown(t *testing.T) {
	w := calm(t)
	w.ledger.fault = func(bool) error {
		if w.down {
			return errors.New("no connection")
		}
		return nil
	}
	w.down = true
	w.steps = []playbook.Step{w.stepOf("urgent"), w.stepOf("careful")}
	w.must(w.exec.Open(w.opening()))
	state, err := w.exec.Advance(context.Background(), id)
	if state != Closed || err == nil || len(w.ledger.entries) != 0 {
		t.Fatalf("%s, %v, %d entries", state, err, len(w.ledger.entries))
	}
	w.wantState("a=a0 b=b0 c=c0")
	w.down = false
	i := w.advance(id, Closed)
	if len(i.Steps) != 3 || i.Steps[0].State != Confirmed || i.Steps[1].State != Skipped || i.Steps[2].Undoes != 1 || !i.recorded() {
		t.Errorf("steps: %+v", i.Steps)
	}
	if e := w.ledger.entry(t, "triage/"+id+"/1/outcome"); !e.WithoutLedger || e.Result != "succeeded" {
		t.Errorf("the outcome of the first step: %v", e)
	}
	if e := w.ledger.entry(t, "triage/"+id+"/2/outcome"); e.WithoutLedger || e.Result != "skipped" || !strings.Contains(e.Detail, "the ledger is unreachable") {
		t.Errorf("the outcome of the second step: %v", e)
	}
}

// TestStaleIntent checks that an intent from long ago is not acted on.
func TestStaleIntent(t *testing.T) {
	w := calm(t)
	w.calm, w.rng = false, nil
	w.ledger.fault = func(done bool) error {
		if done {
			panic(crashed{})
		}
		return nil
	}
	w.exec.Store.fault = nil
	w.exec.Connectors["fake"] = w.fake
	w.must(w.exec.Open(w.opening()))
	func() {
		defer func() { _ = recover() }()
		_, _ = w.exec.Advance(t.Context(), id)
	}()
	w.ledger.fault = func(bool) error { return nil }
	w.pass(2 * time.Minute)
	if i := w.advance(id, Closed); len(i.Steps) != 1 || i.Steps[0].State != Skipped || i.Steps[0].Reason != "the intent is too old" {
		t.Errorf("steps: %+v", i.Steps)
	}
	w.wantState("a=a0 b=b0 c=c0")
}

// A slow connector takes its time for each read but the first.
type slow struct {
	connector.Connector
	read func()
	once bool
}

func (s *slow) Read(ctx context.Context, target string) (connector.Image, error) {
	if s.once {
		s.read()
	}
	s.once = true
	return s.Connector.Read(ctx, target)
}

// TestSlowRead checks that no call is made when reading the target has taken
// until the intent is too old.
func TestSlowRead(t *testing.T) {
	for _, c := range []struct {
		read  time.Duration
		state StepState
		want  string
	}{
		{65 * time.Second, Confirmed, "a=a1 b=b0 c=c0"},
		{65*time.Second + time.Nanosecond, Skipped, "a=a0 b=b0 c=c0"},
	} {
		w := calm(t)
		w.steps = []playbook.Step{w.stepOf("careful")}
		target := &slow{Connector: w.fake}
		target.read = func() { w.pass(c.read); target.once = false }
		w.exec.Connectors["fake"] = target
		w.must(w.exec.Open(w.opening()))
		if _, err := w.exec.Advance(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		i, err := w.exec.Store.Incident(id)
		w.must(err)
		if i.Steps[0].State != c.state {
			t.Errorf("after %s: %s (%s)", c.read, i.Steps[0].State, i.Steps[0].Reason)
		}
		w.wantState(c.want)
	}
}

// TestTwoExecutors checks that the intents in the ledger decide who acts.
func TestTwoExecutors(t *testing.T) {
	one, two := calm(t), calm(t)
	two.ledger, two.fake = one.ledger, one.fake
	two.exec.Ledger, two.exec.Actor = one.ledger, "conductor@other"
	two.exec.Connectors["fake"], two.exec.Standby = two.fake, true
	// Both read the target before either acts.
	one.must(one.exec.Open(one.opening()))
	two.must(two.exec.Open(two.opening()))
	for _, w := range []*world{one, two} {
		i, err := w.exec.Store.Incident(id)
		w.must(err)
		w.must(w.exec.begin(t.Context(), i))
	}
	one.advance(id, Settling)
	if i := two.advance(id, Closed); !i.Taken || i.Steps[0].State != Skipped || !i.recorded() {
		t.Errorf("the other executor: %+v", i)
	}
	if calls := one.fake.Calls(); len(calls) != 2 {
		t.Errorf("calls: %v", calls)
	}
}

// A lapsing connector is one whose effects end by themselves.
type lapsing struct{ *connectortest.Fake }

func (lapsing) Undo() string { return action.Lapse }

func TestLapse(t *testing.T) {
	w := calm(t)
	w.exec.Connectors["fake"] = lapsing{w.fake}
	// A refusal, because its caller would repeat any other error endlessly.
	if err := w.exec.Open(w.opening()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "the effect of connector fake ends by lapse, and not by restore") {
		t.Errorf("an action that the connector cannot restore: %v", err)
	}
	w.exec.Actions.Actions["careful"].Undo = action.Lapse
	w.steps = []playbook.Step{w.stepOf("careful")}
	w.advance(id, Settling)
	w.must(w.exec.Clear(id))
	if i := w.advance(id, Closed); len(i.Steps) != 1 || i.Steps[0].Undone != Kept {
		t.Errorf("steps: %+v", i.Steps)
	}
	if e := w.ledger.entry(t, "triage/"+id+"/1/intent"); !e.Irreversible || e.Undo != nil {
		t.Errorf("the intent: %v", e)
	}
}

// A stubborn connector makes the first change, and then refuses all.
type stubborn struct{ *connectortest.Fake }

func (s stubborn) Set(ctx context.Context, target string, before, after connector.Image) error {
	if len(s.Calls()) > 0 {
		return errors.New("refused")
	}
	return s.Fake.Set(ctx, target, before, after)
}

// TestUndoFails checks that people get what cannot be undone.
func TestUndoFails(t *testing.T) {
	w := calm(t)
	w.exec.Connectors["fake"] = stubborn{w.fake}
	w.must(w.exec.Open(w.opening()))
	var state State
	var err error
	for range 30 {
		if state, err = w.exec.Advance(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
	}
	i, err := w.exec.Store.Incident(id)
	if err != nil || state != Escalated || i.Reason != "step 1 cannot be undone: restore a" || i.Steps[0].Attempts != maxAttempts || !i.recorded() {
		t.Errorf("%s, %v: %+v", state, err, i)
	}
}

// A vanished target changes once, and cannot be read then.
type vanished struct {
	*connectortest.Fake
	gone bool
}

func (v *vanished) Read(ctx context.Context, target string) (connector.Image, error) {
	if v.gone {
		return nil, errors.New("no answer")
	}
	return v.Fake.Read(ctx, target)
}

func (v *vanished) Set(ctx context.Context, target string, before, after connector.Image) error {
	err := v.Fake.Set(ctx, target, before, after)
	v.gone = true
	return err
}

// TestUnreadable checks that people get an incident whose target cannot be read
// after the call, and that its effect is undone when it can.
func TestUnreadable(t *testing.T) {
	w := calm(t)
	v := &vanished{Fake: w.fake}
	w.exec.Connectors["fake"] = v
	w.must(w.exec.Open(w.opening()))
	for _, c := range []struct {
		pass  time.Duration
		state State
	}{{0, Acting}, {9 * time.Minute, Acting}, {2 * time.Minute, Escalated}, {time.Hour, Escalated}} {
		w.pass(c.pass)
		state, err := w.exec.Advance(t.Context(), id)
		if err == nil || state != c.state {
			t.Fatalf("after %s more, the incident is %s, want %s (error %v)", c.pass, state, c.state, err)
		}
	}
	i, err := w.exec.Store.Incident(id)
	if err != nil || i.noticed(ActionEscalate) != 1 || i.Notices[len(i.Notices)-1].Entry.Recorded == nil {
		t.Fatalf("people were not asked once: %+v (error %v)", i, err)
	}
	v.gone = false
	if state, err := w.exec.Advance(t.Context(), id); err != nil || state != Escalated {
		t.Fatalf("with the target back the incident is %s (error %v)", state, err)
	}
	w.must(w.exec.Clear(id))
	for range 3 { // the calls of undo make it vanish again
		v.gone = false
		_, _ = w.exec.Advance(t.Context(), id)
		w.pass(time.Minute)
	}
	w.wantState("a=a0 b=b0 c=c0")
}

// TestIntentIsOver checks that a step that is intended is not carried out after
// what makes it superfluous, such as when the executor was away in between.
func TestIntentIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		before func(w *world)
		want   string
	}{
		"cleared":     {func(w *world) { w.must(w.exec.Clear(id)) }, "the condition has cleared"},
		"kill switch": {func(w *world) { w.must(w.exec.Store.Kill(true)) }, "the kill switch is on"},
	} {
		t.Run(name, func(t *testing.T) {
			w := calm(t)
			v := &vanished{Fake: w.fake}
			w.exec.Connectors["fake"] = &unread{v, 1}
			w.must(w.exec.Open(w.opening()))
			if _, err := w.exec.Advance(t.Context(), id); err == nil {
				t.Fatal("the target was read")
			}
			c.before(w)
			w.exec.Connectors["fake"] = w.fake
			if _, err := w.exec.Advance(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			i, err := w.exec.Store.Incident(id)
			if err != nil || i.Steps[0].State != Skipped || i.Steps[0].Reason != c.want || len(w.fake.Calls()) != 0 {
				t.Errorf("%+v (error %v); %d calls", i.Steps[0], err, len(w.fake.Calls()))
			}
		})
	}
}

// An unread target can be read some times, and then no more.
type unread struct {
	*vanished
	reads int
}

func (u *unread) Read(ctx context.Context, target string) (connector.Image, error) {
	if u.reads--; u.reads < 0 {
		return nil, errors.New("no answer")
	}
	return u.Fake.Read(ctx, target)
}

// TestFlagd toggles a flag in a file, and undoes it byte for byte.
func TestFlagd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	const flags = "{\"flags\": {\"buffer\": {\"state\":\"ENABLED\",\n\t\"variants\": {\"on\": true, \"off\": false}, \"defaultVariant\":\"off\" }}}"
	if err := os.WriteFile(path, []byte(flags), 0o640); err != nil {
		t.Fatal(err)
	}
	w := calm(t)
	w.exec.Connectors["flagd"] = connector.NewFlagd(path)
	a := *w.exec.Actions.Actions["careful"]
	a.Name, a.Connector, a.Target = "toggle", "flagd", "flag/buffer"
	w.exec.Actions.Actions["toggle"] = &a
	w.steps = []playbook.Step{{Action: &a, Target: a.Target, Parameters: map[string]action.Value{"variant": {Text: "on", Type: action.String, Given: true}}}}
	for n, want := range []string{strings.Replace(flags, `"off" }`, `"on" }`, 1), flags} {
		w.advance(id, []State{Settling, Closed}[n])
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("the file is %q, %v, want %q", got, err, want)
		}
		w.must(w.exec.Clear(id))
	}
}

func TestStore(t *testing.T) {
	fs := vfs.NewMem()
	s, err := OpenStore("state", fs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore("state", fs); err == nil {
		t.Error("two executors have the same state")
	}
	if err := errors.Join(s.write(map[string]any{"format": "2"}), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore("state", fs); err == nil || !strings.Contains(err.Error(), `version "2": only version 1 is supported`) {
		t.Errorf("another version: %v", err)
	}
	if s, err = OpenStore("other", fs); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	full := make([]time.Time, maxTimes)
	for i := range full {
		full[i] = now.Add(-time.Hour)
	}
	if err := s.write(map[string]any{"used/a": full}); err != nil {
		t.Fatal(err)
	}
	times, err := s.used("used/a", now)
	if err != nil || len(times) != maxTimes || !times[maxTimes-1].Equal(now) {
		t.Errorf("%d times, %v", len(times), err)
	}
	if times, err = s.used("used/a", now.Add(48*time.Hour)); err != nil || len(times) != 1 {
		t.Errorf("%d times after two days, %v", len(times), err)
	}
	if times, err = s.times("used/a", now.Add(-time.Minute)); err != nil || len(times) != 0 {
		t.Errorf("%d times in the last minute, %v", len(times), err)
	}
}

// TestID checks the identifier of the specification.
func TestID(t *testing.T) {
	of := &catalogue.Type{Name: "P1-surge"}
	one := ID(of, catalogue.MakeKey([]string{"eu", "gateway"}), 3)
	// printf '8:P1-surge2:eu7:gateway' | sha256sum
	if want := "P1-surge/016a05057c41-3"; one != want {
		t.Errorf("%s, want %s", one, want)
	}
	if other := ID(of, catalogue.MakeKey([]string{"eug", "ateway"}), 3); other == one {
		t.Error("two keys have one identifier")
	}
	if got := fmt.Sprint(planned(nil)); got != "[]" {
		t.Errorf("planned: %s", got)
	}
}
