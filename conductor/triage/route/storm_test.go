package route

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/soak"
)

// TestStorm sends many messages, each by both servers of a pair, to a router
// that crashes meanwhile. Each message is repeated until it is acknowledged.
// Nothing is lost, and nothing counts twice.
func TestStorm(t *testing.T) {
	soak.WithoutRace(t)
	const (
		messages, alerts = 100, 100
		services         = 40 // with an incident each
	)
	w := newWorld(t)
	body := func(n int, twin string) []byte {
		var b strings.Builder
		b.WriteString(`{"version":"4","alerts":[`)
		for i := range alerts {
			if i > 0 {
				b.WriteByte(',')
			}
			id := n*alerts + i
			name := "Noise"
			if id%(messages*alerts/services) == 0 {
				name = "Errors"
			}
			fmt.Fprintf(&b, `{"status":"firing","labels":{"alertname":%q,"service":"s%d","replica":%q},"startsAt":"2026-11-01T11:59:00Z"}`, name, id, twin)
		}
		return []byte(b.String() + "]}")
	}
	var mu sync.Mutex // guards router, which is another one after the crash
	router := w.Router
	current := func() *Router { mu.Lock(); defer mu.Unlock(); return router }
	work := make(chan []byte)
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for text := range work {
				m, err := signal.ParseAlertmanager(text, noon)
				if err != nil || len(m.Signals) != alerts {
					t.Errorf("%v", err)
					return
				}
				for {
					_, err := current().Deliver(t.Context(), m.Signals)
					if err == nil {
						break
					}
					if !errors.Is(err, ErrBusy) && !errors.Is(err, ErrStopped) {
						t.Errorf("%v", err)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		r := current()
		go func() { ended <- r.Run(ctx) }()
		return func() { cancel(); w.must(<-ended) }
	}
	stop := run()
	for n := range messages {
		for _, twin := range []string{"a", "b"} {
			work <- body(n, twin)
		}
		if n == messages/2 {
			stop()
			mu.Lock()
			w.crash()
			router = w.Router
			mu.Unlock()
			stop = run()
		}
	}
	close(work)
	senders.Wait()
	stop()
	w.crash()
	if firing, all := w.table.Count(); firing != messages*alerts || all != firing {
		t.Errorf("%d of %d alerts fire, want %d", firing, all, messages*alerts)
	}
	w.pass(15 * time.Second)
	w.crash()
	w.pass(time.Second)
	if len(w.incidents) != services {
		t.Errorf("%d incidents, want %d", len(w.incidents), services)
	}
	for id := range w.incidents {
		if !strings.HasSuffix(id, "-1") {
			t.Errorf("%s opened twice", id)
		}
	}
}

// TestManyKeys checks that thousands of keys of a type, of which the budget
// allows two incidents, make an evaluation look at each alert a few times only.
// The other incidents are dropped, but their numbers remain.
func TestManyKeys(t *testing.T) {
	soak.WithoutRace(t)
	const rounds, keys = 4, 900
	w := newWorld(t)
	for n := range rounds {
		signals := make([]signal.Signal, keys)
		for i := range signals {
			signals[i] = w.alert("Errors", signal.Firing, fmt.Sprintf("s%d-%d", n, i), w.now)
		}
		w.deliver(signals...)
		w.pass(15 * time.Second)
	}
	open := len(w.incidents) - maxRefused
	if open != 2 || len(w.latest) != len(w.incidents) {
		t.Errorf("%d incidents beyond those that are refused, want 2; %d places of %d", open, len(w.latest), len(w.incidents))
	}
	w.crash()
	w.dirty = true
	before := w.table.Visited()
	if _, err := w.evaluate(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Each of two types looks at each alert to classify it, and to find those
	// of open incidents.
	if work := w.table.Visited() - before; work > 4*rounds*keys+100 {
		t.Errorf("an evaluation looks at %d alerts, of %d", work, rounds*keys)
	}
	if len(w.incidents) != maxRefused+2 {
		t.Errorf("%d incidents after a restart", len(w.incidents))
	}

	var resolved []signal.Signal
	for n := range rounds {
		for i := range keys {
			resolved = append(resolved, w.alert("Errors", signal.Resolved, fmt.Sprintf("s%d-%d", n, i), w.now))
		}
	}
	w.deliver(resolved...)
	w.pass(time.Minute)
	w.pass(keep + time.Second)
	if len(w.incidents)+len(w.latest) > 0 {
		t.Errorf("%d incidents, %d places after %s", len(w.incidents), len(w.latest), keep)
	}
	w.deliver(w.alert("Errors", signal.Firing, "s0-0", w.now))
	w.pass(15 * time.Second)
	if len(w.incidents) != 1 {
		t.Errorf("%d incidents", len(w.incidents))
	}
	for id := range w.incidents {
		if !strings.HasSuffix(id, "-2") {
			t.Errorf("%s: its number was used before", id)
		}
	}
}
