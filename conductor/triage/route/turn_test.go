package route

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/signal"
)

// A mute connector cannot be read after its first call.
type mute struct {
	connector.Connector
	called bool
	reads  int // in vain
}

func (m *mute) Read(ctx context.Context, target string) (connector.Image, error) {
	if m.called {
		m.reads++
		return nil, errors.New("no answer")
	}
	return m.Connector.Read(ctx, target)
}

func (m *mute) Set(ctx context.Context, target string, before, after connector.Image) error {
	m.called = true
	return m.Connector.Set(ctx, target, before, after)
}

// TestMuteTarget checks that an incident whose target does not answer is
// advanced with backoff, and that others come first.
func TestMuteTarget(t *testing.T) {
	w := newWorld(t)
	target := &mute{Connector: w.Executor.Connectors["flags"]}
	w.Executor.Connectors["flags"] = target
	clock := noon
	w.actor.now = func() time.Time { return clock }
	w.deliver(w.alert("Errors", signal.Firing, "x", noon))
	w.pass(15 * time.Second)
	if target.reads != 1 {
		t.Fatalf("the target was read %d times in vain, want 1", target.reads)
	}
	w.now = w.now.Add(time.Minute) // the call has no effect any more
	round := func(later time.Duration, want int) {
		t.Helper()
		clock = clock.Add(later)
		w.actor.round(t.Context())
		w.actor.round(t.Context())
		if target.reads != want {
			t.Errorf("the target was read %d times in vain, want %d", target.reads, want)
		}
	}
	round(time.Second, 2)
	round(time.Second, 2)
	round(time.Second, 3)
	for range 4 {
		clock = clock.Add(time.Minute)
		w.actor.round(t.Context())
	}
	round(29*time.Second, 7)
	round(time.Second, 8)

	// It is advanced at once when its condition clears.
	w.deliver(w.alert("Errors", signal.Resolved, "x", noon))
	w.pass(time.Minute)
	if target.reads != 9 {
		t.Errorf("the target was read %d times in vain, want 9", target.reads)
	}

	// So it is at the request of a person, and all are if the request is about
	// all.
	id := slices.Collect(maps.Keys(w.incidents))[0]
	for n, asked := range []string{"T/other-1", id, execute.All} {
		w.actor.undelay([]string{asked})
		round(0, 9+n)
	}

	a := &actor{now: time.Now, known: map[string]*progress{"a": {state: execute.Settling}, "b": {state: execute.Acting}, "c": {state: execute.Escalated}}}
	if got := strings.Join(a.order([]string{"a", "b", "c", "d"}), ""); got != "bdac" {
		t.Errorf("order %s, want bdac", got)
	}
}

// A silentLedger lets each entry wait until its time is over.
type silentLedger struct{ asked []string }

func (l *silentLedger) Record(_ context.Context, key string, _ []byte) (execute.Reference, error) {
	l.asked = append(l.asked, key)
	return execute.Reference{}, context.DeadlineExceeded
}

// TestSilentLedger checks that incidents wait for a ledger that does not answer
// once in a round, and that a step that needs its intent always does.
func TestSilentLedger(t *testing.T) {
	for _, c := range []struct {
		without bool // the ledger, the steps run
		asked   int
		states  string
	}{
		{true, 1, "T-1 x:settling U-1 y:settling"},
		{false, 4, "T-1 x:closed U-1 y:closed"}, // for each intent, and to send it later
	} {
		w := newWorld(t)
		w.edits = []string{"cooldown: 1s", fmt.Sprintf("cooldown: 1s\n    act_without_ledger: %v", c.without)}
		w.crash()
		silent := &silentLedger{}
		w.actor.ledger.Ledger = silent
		w.deliver(w.alert("Errors", signal.Firing, "x", noon))
		w.now = w.now.Add(15 * time.Second)
		w.deliver(w.alert("Errors", signal.Firing, "y", w.now), w.alert("Slow", signal.Firing, "y", w.now))
		w.dirty = true
		_, err := w.evaluate(t.Context())
		w.must(err)
		w.actor.obey()
		w.actor.round(t.Context())
		w.must(w.follow(w.actor.reports()))
		w.want(c.states, map[bool]string{true: "on on", false: "off off"}[c.without])
		if len(silent.asked) != c.asked {
			t.Errorf("without the ledger %v: asked for %q, want %d", c.without, silent.asked, c.asked)
		}
	}
}
