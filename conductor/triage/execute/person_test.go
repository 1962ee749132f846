package execute

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/playbook"
)

const ada = "oidc:https://id.example#ada"

// follow applies the requests and advances the incident.
func (w *world) follow(want State) *Incident {
	w.t.Helper()
	w.must(w.exec.Follow(context.Background()))
	return w.advance(id, want)
}

// waiting returns a world whose incident waits for the approval of its second
// step.
func waiting(t *testing.T) *world {
	t.Helper()
	w := calm(t)
	w.steps = []playbook.Step{w.stepOf("careful"), w.stepOf("last"), w.stepOf("urgent")}
	w.advance(id, Waiting)
	w.wantState("a=a1 b=b0 c=c0")
	return w
}

// TestApproval checks that a step waits for the approval of a person, across a
// restart.
func TestApproval(t *testing.T) {
	w := waiting(t)
	ask := w.ledger.entry(t, "triage/"+id+"/request-approval/2")
	asked := ask.Parameters.AsMap()
	if asked["place"] != 2.0 || asked["action"] != "last" || asked["target"] != "c" || asked["until"] != "2026-11-01T13:00:00Z" || asked["parameters"].(map[string]any)["value"] != "c1" {
		t.Errorf("the request: %v", ask)
	}
	w.answer(ada, ActionApprove)
	w.must(w.exec.Store.Close())
	w.open()
	i := w.follow(Settling)
	w.wantState("a=a1 b=b1 c=c1")
	if e := w.ledger.entry(t, "triage/"+id+"/2/intent"); !strings.HasSuffix(e.Detail, ", approved by entry 3") || i.Steps[1].Approved.Index != 3 {
		t.Errorf("the intent: %v", e)
	}
	w.must(w.exec.Follow(t.Context())) // reads no request again
	w.must(w.exec.Clear(id))
	w.advance(id, Closed)
	w.wantState("a=a0 b=b0 c=c0")
	if w.exec.Ignored != 0 {
		t.Errorf("%d requests ignored", w.exec.Ignored)
	}
}

// TestNoApproval checks the other ways out of waiting.
func TestNoApproval(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(w *world)
		want   State
		reason string
	}{
		{"rejected", func(w *world) { w.answer(ada, ActionReject) }, Escalated, "rejected by oidc:https://id.example#ada (entry 3)"},
		{"no answer", func(w *world) {
			w.exec.Actions.Actions["careful"].UndoAfter = 2 * time.Hour
			w.pass(time.Hour)
		}, Waiting, ""},
		{"clears", func(w *world) { w.must(w.exec.Clear(id)) }, Closed, "the condition has cleared"},
		{"killed", func(w *world) { w.submit(ada, ActionKill, nil) }, Closed, "the kill switch is on"},
		{"undo", func(w *world) { w.submit(ada, ActionUndo, nil) }, Closed, "undo requested by oidc:https://id.example#ada (entry 3)"},
		{"undo_after", func(w *world) { w.pass(10 * time.Minute) }, Closed, "the time of the actions is over"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := waiting(t)
			c.do(w)
			if c.want == Waiting { // undo_after of the first step comes first, unless it is longer
				c.want, c.reason = Closed, "the time of the actions is over"
			}
			if i := w.follow(c.want); i.Reason != c.reason {
				t.Errorf("reason: %s", i.Reason)
			}
			if c.want == Closed {
				w.wantState("a=a0 b=b0 c=c0")
			}
		})
	}
	w := calm(t)
	w.steps = []playbook.Step{w.stepOf("last")}
	w.advance(id, Waiting)
	w.pass(time.Hour - time.Second)
	w.advance(id, Waiting)
	w.pass(time.Second)
	if i := w.advance(id, Escalated); i.Reason != "no answer to the request for approval within 1h0m0s" {
		t.Errorf("reason: %s", i.Reason)
	}
	w.answer(ada, ActionApprove)
	w.follow(Escalated)
	w.wantState("a=a0 b=b0 c=c0")
	w.must(w.exec.Clear(id))
	w.advance(id, Closed)
}

// TestRequestsIgnored checks who and what is not obeyed.
func TestRequestsIgnored(t *testing.T) {
	w := waiting(t)
	hash := w.ledger.entries["triage/"+id+"/request-approval/2"].LeafHash
	good := map[string]any{"request": hash, "place": 2}
	for _, who := range []string{"token:ada", "cert:uri:spiffe://x#ada", "oidc:https://id.example#eve", "oidc:https://evil.example#ada", robot, "oidc:#ada"} {
		for _, action := range []string{ActionApprove, ActionReject} {
			w.submit(who, action, good)
		}
		for _, action := range []string{ActionUndo, ActionMisfire, ActionKill, ActionQuarantine} {
			if who != robot || action != ActionQuarantine { // that of its twin is obeyed
				w.submit(who, action, nil)
			}
		}
	}
	for _, parameters := range []map[string]any{
		nil, {"request": hash}, {"request": strings.Repeat("0", 64), "place": 2}, {"request": hash, "place": 1}, {"request": hash, "place": 2, "more": 1}, {"request": strings.ToUpper(hash) + "g", "place": 2},
	} {
		w.submit(ada, ActionApprove, parameters)
	}
	w.submit(ada, ActionUndo, good)
	w.submit(ada, "apporve", good)
	w.submit(ada, ActionRelease, nil)
	text := string(w.ledger.requests[0].Payload)
	for _, change := range [][2]string{{`"result":"succeeded"`, `"result":"failed"`}, {id, "T/0123456789ab-2"}, {`"playbook":"T"`, `"playbook":"U"`}, {`"irreversible":true`, `"undo":{"action":"x"}`}, {id, All}, {"{", "["}} {
		w.ledger.submit(ada, strings.Replace(text, change[0], change[1], 1))
	}
	w.ledger.requests = append(w.ledger.requests, Request{Reference: Reference{Index: w.ledger.next}, Submitter: ada, Fault: "the receipt does not verify"})
	w.follow(Waiting)
	w.wantState("a=a1 b=b0 c=c0")
	if n := len(w.ledger.requests); w.exec.Ignored != n {
		t.Errorf("%d requests ignored of %d", w.exec.Ignored, n)
	}
}

// TestUndoRequest checks that a person's undo is recorded with the person, and
// that it retries an undo that had failed too often.
func TestUndoRequest(t *testing.T) {
	w := calm(t)
	w.advance(id, Settling)
	w.submit(ada, ActionUndo, nil)
	w.must(w.exec.Follow(t.Context()))
	if !slices.Equal(w.exec.Asked, []string{id}) {
		t.Errorf("requests were applied to %q", w.exec.Asked)
	}
	if i := w.follow(Closed); w.exec.Asked != nil {
		t.Errorf("requests were applied again: %q, %+v", w.exec.Asked, i)
	}
	w.wantState("a=a0 b=b0 c=c0")
	if e := w.ledger.entry(t, "triage/"+id+"/3/intent"); e.Actor != ada || e.Action != "restore" {
		t.Errorf("the undo: %v", e)
	}
	if e := w.ledger.entry(t, "triage/"+id+"/close"); e.Actor != "conductor@test" || !strings.Contains(e.Detail, "undo requested by") {
		t.Errorf("the end: %v", e)
	}
	w.submit(ada, ActionUndo, nil)
	w.follow(Closed)
	if w.exec.Ignored != 1 {
		t.Error("an undo of a closed incident is applied")
	}
}

// TestEscalation checks that alerts that go on get to people, and that undo
// still happens.
func TestEscalation(t *testing.T) {
	w := calm(t)
	w.exec.Actions.Actions["urgent"].UndoAfter = 20 * time.Minute
	w.exec.Actions.Actions["careful"].UndoAfter = 20 * time.Minute
	w.advance(id, Settling)
	w.pass(10*time.Minute - time.Second)
	w.advance(id, Settling)
	w.pass(time.Second)
	if i := w.advance(id, Escalated); i.Reason != "the alerts still fire at the end of decay" {
		t.Errorf("reason: %s", i.Reason)
	}
	w.wantState("a=a1 b=b1 c=c0")
	w.pass(10 * time.Minute)
	w.advance(id, Closed)
	w.wantState("a=a0 b=b0 c=c0")
}

// TestMisfire checks the three ways to find a misfire, the quarantine, and its
// end.
func TestMisfire(t *testing.T) {
	resolved := Observation{Counting: 2, Anchors: map[string]bool{"x": true, "y": false}}
	for _, c := range []struct {
		name string
		do   func(w *world)
		want string
	}{
		{"fires again", func(w *world) {
			w.must(w.exec.Observe(id, Observation{Counting: 2, Anchors: map[string]bool{"x": true, "y": true, "z": true}}))
		}, "an alert that was resolved before the first action fires again"},
		{"more alerts", func(w *world) {
			w.must(w.exec.Observe(id, Observation{Counting: 3, Anchors: map[string]bool{"x": true}}))
			w.advance(id, Settling)
			w.pass(10 * time.Minute)
		}, "3 alerts count at the end of decay, and 2 did before the first action"},
		{"marked", func(w *world) { w.submit(ada, ActionMisfire, nil) }, "marked by oidc:https://id.example#ada (entry 4)"},
		{"marked after the end", func(w *world) {
			w.must(w.exec.Clear(id))
			w.advance(id, Closed)
			w.submit(ada, ActionMisfire, nil)
		}, "marked by oidc:https://id.example#ada (entry 9)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := calm(t)
			for _, a := range w.exec.Actions.Actions {
				a.UndoAfter = time.Hour
			}
			w.must(w.exec.Open(w.opening()))
			w.must(w.exec.Observe(id, resolved))
			w.advance(id, Settling)
			c.do(w)
			i := w.follow(Closed)
			w.wantState("a=a0 b=b0 c=c0")
			e := w.ledger.entry(t, "triage/"+id+"/quarantine")
			all, err := w.exec.Store.Quarantines()
			if e.Detail != c.want || err != nil || all["T"].Incident != id || !i.Misfire.Misfired {
				t.Errorf("notice %v; quarantines %v, %v", e, all, err)
			}
			w.pass(time.Hour)
			o := w.opening()
			o.ID = "T/0123456789ab-2"
			w.must(w.exec.Open(o))
			w.must(w.exec.Store.Close())
			w.open()
			if i := w.advance(o.ID, Escalated); !strings.Contains(i.Reason, "quarantine since "+id) {
				t.Errorf("reason: %s", i.Reason)
			}
			w.submit(ada, ActionRelease, nil)
			w.must(w.exec.Follow(t.Context()))
			w.pass(time.Hour)
			w.advance("T/0123456789ab-3", Settling)
		})
	}
}

// TestNoMisfire checks observations that are not misfires.
func TestNoMisfire(t *testing.T) {
	w := calm(t)
	w.must(w.exec.Open(w.opening()))
	w.must(w.exec.Observe(id, Observation{Counting: 2, Anchors: map[string]bool{"x": true, "y": false}}))
	w.must(w.exec.Observe(id, Observation{Counting: 3, Anchors: map[string]bool{"x": true, "y": true}}))
	w.advance(id, Settling)
	w.must(w.exec.Observe(id, Observation{Counting: 5, Anchors: map[string]bool{"x": false, "y": true}}))
	w.must(w.exec.Observe(id, Observation{Counting: 3, Anchors: map[string]bool{"x": true, "new": true}}))
	w.pass(4 * time.Minute)
	w.must(w.exec.Clear(id))
	if i := w.advance(id, Closed); i.Misfire.Misfired {
		t.Errorf("a misfire: %s", i.Reason)
	}
	w.pass(20 * time.Minute)
	w.must(w.exec.Observe(id, Observation{Counting: 9, Anchors: map[string]bool{"x": true}}))
	w.must(w.exec.Observe("T/none-1", Observation{}))
	if all, err := w.exec.Store.Quarantines(); len(all) > 0 || err != nil {
		t.Errorf("quarantines: %v, %v", all, err)
	}
}

// TestTwinQuarantine checks that the quarantine of the other executor counts.
func TestTwinQuarantine(t *testing.T) {
	w := calm(t)
	w.submit(robot, ActionQuarantine, nil)
	w.must(w.exec.Follow(t.Context()))
	if i := w.advance(id, Escalated); !strings.Contains(i.Reason, "quarantine since "+id) {
		t.Errorf("reason: %s", i.Reason)
	}
}

// TestKillSwitch checks that requests and the file switch steps off, and not
// undo.
func TestKillSwitch(t *testing.T) {
	w := calm(t)
	w.advance(id, Settling)
	w.submit(ada, ActionKill, nil)
	if i := w.follow(Closed); i.Reason != "the kill switch is on" {
		t.Errorf("reason: %s", i.Reason)
	}
	w.wantState("a=a0 b=b0 c=c0")
	w.pass(time.Hour)
	w.advance("T/x-2", Escalated)
	w.submit(ada, ActionUnkill, nil)
	w.touch(KillFile)
	w.must(w.exec.Follow(t.Context()))
	w.advance("T/x-3", Escalated)
	w.must(w.fs.Remove(KillFile))
	w.advance("T/x-4", Settling)
}

// TestDryRun checks that nothing changes and nothing is recorded.
func TestDryRun(t *testing.T) {
	w := calm(t)
	w.exec.DryRun = true
	w.steps = []playbook.Step{w.stepOf("careful"), w.stepOf("last")}
	i := w.advance(id, Settling)
	if len(i.Dry) != 2 || !strings.HasPrefix(i.Dry[0], "careful on a, from sha256:") || !strings.HasSuffix(i.Dry[1], ", after approval by a person") {
		t.Errorf("what would be done: %q", i.Dry)
	}
	w.pass(10 * time.Minute)
	w.advance(id, Escalated)
	w.must(w.exec.Clear(id))
	w.advance(id, Closed)
	w.wantState("a=a0 b=b0 c=c0")
	if len(w.ledger.entries) != 0 || len(w.fake.Calls()) != 0 {
		t.Errorf("entries %v, calls %v", w.ledger.entries, w.fake.Calls())
	}
	if used, err := w.exec.Store.times(rowUsed, time.Time{}); len(used) > 0 || err != nil {
		t.Errorf("a dry run uses the budget: %v, %v", used, err)
	}
}

// TestSpool checks that an entry that was changed while it waited is not sent.
func TestSpool(t *testing.T) {
	w := calm(t)
	w.ledger.fault = func(bool) error { return errors.New("no connection") }
	w.steps = []playbook.Step{w.stepOf("urgent")}
	w.must(w.exec.Open(w.opening()))
	if state, err := w.exec.Advance(t.Context(), id); state != Settling || err == nil {
		t.Fatalf("%s, %v", state, err)
	}
	i, err := w.exec.Store.Incident(id)
	w.must(err)
	intent := &i.Steps[0].Intent
	intent.Payload = []byte(strings.Replace(string(intent.Payload), "urgent", "benign", 1))
	w.must(w.exec.save(i))
	w.ledger.fault = func(bool) error { return nil }
	for range 2 {
		if _, err := w.exec.Advance(t.Context(), id); !errors.Is(err, ErrSpool) {
			t.Errorf("a changed entry: %v", err)
		}
	}
	if len(w.ledger.entries) != 0 {
		t.Errorf("entries: %v", w.ledger.entries)
	}
}

func TestLoadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "executor.key")
	one, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if two, err := LoadKey(path); err != nil || !one.Equal(two) {
		t.Errorf("the key read again: %v", err)
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a file without a key: %v", err)
	}
}

// TestPrune checks that closed incidents are kept for 30 days.
func TestPrune(t *testing.T) {
	w := calm(t)
	w.advance(id, Settling)
	w.must(w.exec.Clear(id))
	w.advance(id, Closed)
	for _, c := range []struct {
		after time.Duration
		kept  bool
	}{{30 * 24 * time.Hour, true}, {time.Second, false}} {
		w.pass(c.after)
		w.must(w.exec.Prune())
		if i, err := w.exec.Store.Incident(id); err != nil || (i != nil) != c.kept {
			t.Errorf("after %s: %v, %v", c.after, i, err)
		}
	}
	if used, err := w.exec.Store.times(rowUsed+"a", time.Time{}); len(used) > 0 || err != nil {
		t.Errorf("old times are kept: %v, %v", used, err)
	}
}

// TestUnreadableState checks that nothing is done with a state that cannot be
// read.
func TestUnreadableState(t *testing.T) {
	w := calm(t)
	w.must(w.exec.Open(w.opening()))
	w.must(w.exec.Store.write(map[string]any{rowIncident + id: "not an incident"}))
	if _, err := w.exec.Advance(t.Context(), id); !errors.Is(err, ErrState) {
		t.Errorf("advance: %v", err)
	}
	if _, err := w.exec.Store.Active(); !errors.Is(err, ErrState) {
		t.Errorf("active: %v", err)
	}
	w.wantState("a=a0 b=b0 c=c0")
}

// TestClockSteps checks that an intent that is more than two minutes old, or
// from the future by the clock of a new process, is not acted on.
func TestClockSteps(t *testing.T) {
	w := calm(t)
	s := &Step{Number: 1, Decided: w.now}
	s.Timeout = time.Minute
	i := &Incident{ID: id}
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {2 * time.Minute, false}, {2*time.Minute + 1, true}, {-1, true}} {
		w.now = s.Decided.Add(c.after)
		if got := w.exec.stale(i, s); got != c.want {
			t.Errorf("after %s: %v", c.after, got)
		}
	}
}
