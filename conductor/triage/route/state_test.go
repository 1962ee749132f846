package route

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/explain"
	"muniment.dev/muniment/conductor/triage/signal"
)

// explained returns the state as of the next evaluation.
func (w *world) explained() *explain.State {
	w.t.Helper()
	a := &ask{done: make(chan struct{})}
	w.asked, w.dirty = a, true
	_, err := w.evaluate(context.Background())
	w.must(err)
	<-a.done
	w.must(a.err)
	return a.state
}

// TestState checks the state in each situation of an alert, and that nothing
// changes by asking for it.
func TestState(t *testing.T) {
	w := newWorld(t)
	want := func(acts bool, texts ...string) {
		t.Helper()
		s := w.explained()
		for _, text := range texts {
			if got := s.Text(); !strings.Contains(got, text) {
				t.Errorf("no %q in\n%s", text, got)
			}
		}
		if s.Acts() != acts {
			t.Errorf("an incident: %v, want %v", s.Acts(), acts)
		}
	}
	w.deliver(w.alert("Errors", signal.Firing, "x", noon), w.alert("Noise\x1b[2J", signal.Firing, "x", noon))
	w.pass(5 * time.Second)
	want(false, "as of 2026-11-01T12:00:05Z: 2 alerts firing, 0 ended, 0 incidents open, 0 closed\n1 firing alert of no type: \"Noise\\x1b[2J\"\n",
		"\nT service=x: incomplete\n  because errors: 0 alerts of 1\n", "- Errors service=x: it fires for 5s of 15s\n", "\nU: incomplete\n")
	w.now = w.now.Add(10 * time.Second)
	want(true, "\nT service=x: classified\n", "  next: incident T/", "-1 opens\n", "1. toggle key=a variant=on on flag/a, undo: restore\n")
	w.pass(time.Second)
	want(true, "-1: settling\n  opened 2026-11-01T12:00:15Z\n  alerts: Errors\n  1. toggle on flag/a: confirmed\n", "- Errors service=x: its episode belongs to incident T/")
	w.deliver(w.alert("Errors", signal.Resolved, "x", noon))
	w.pass(time.Minute)
	w.deliver(w.alert("Errors", signal.Firing, "x", w.now))
	w.must(w.Executor.Store.Kill(true))
	w.pass(20 * time.Second)
	want(true, "1 closed\n", "the kill switch is on", "next: no incident opens until 2026-11-01T12:11:16Z, when decay of 10m0s has passed after the end of T/")
	w.want("T-1 x:closed", "off off")
}

// TestStateBounds checks that a state of many candidates and refused incidents
// is bounded.
func TestStateBounds(t *testing.T) {
	const keys = 300
	w := newWorld(t)
	long := strings.Repeat("x", 900)
	signals := make([]signal.Signal, 2*keys)
	for n := range keys {
		name := fmt.Sprint(long, n)
		signals[n] = w.alert("Errors", signal.Firing, name, w.now)
		signals[keys+n] = w.alert("Noise"+fmt.Sprint(n), signal.Firing, name, w.now)
	}
	w.deliver(signals...)
	s := w.explained()
	if of := s.Types[0]; of.Name != "T" || of.Verdicts["incomplete"] != keys || len(of.Candidates) != explain.MaxListed || of.Unlisted != keys-explain.MaxListed {
		t.Errorf("type %s: %v, %d listed, %d not", of.Name, of.Verdicts, len(of.Candidates), of.Unlisted)
	}
	if s.Alerts.Unmatched != keys || len(s.Alerts.Names) != maxUnmatched {
		t.Errorf("%d unmatched alerts, %d names", s.Alerts.Unmatched, len(s.Alerts.Names))
	}
	for len(s.Types) < 256 { // as many as a catalogue has
		s.Types = append(s.Types, s.Types[0])
	}
	text, err := s.Encode()
	if err != nil || len(text) > explain.MaxState || !s.Cut || s.Types[255].Unlisted != keys {
		t.Errorf("%d bytes, cut %v, %v", len(text), s.Cut, err)
	}
	w.pass(15 * time.Second)
	if s = w.explained(); len(s.Incidents) != explain.MaxIncidents || s.MoreIncidents != keys-explain.MaxIncidents || !strings.Contains(s.Text(), "refused: 2 incidents in an hour, the budget") {
		t.Errorf("%d incidents, %d more\n%s", len(s.Incidents), s.MoreIncidents, s.Text())
	}
}

// TestStateStopped checks that a router that has stopped answers.
func TestStateStopped(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s, err := w.State(t.Context())
	if err != nil || len(s.Types) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	cancel()
	w.must(<-ended)
	if _, err := w.State(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}
