package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// A table is the lease in memory. Its servers can be cut off.
type table struct {
	mu    sync.Mutex
	lease store.Lease
	cut   map[string]bool // by URL of the server
}

type seat struct {
	*table
	url string
}

func (s seat) Lease(context.Context) (store.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[s.url] {
		return store.Lease{}, errors.New("cut off")
	}
	return s.lease, nil
}

func (s seat) TakeLease(_ context.Context, beat uint64, l store.Lease) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut[s.url] {
		return false, errors.New("cut off")
	}
	if beat != s.lease.Beat {
		return false, nil
	}
	l.Beat = beat + 1
	s.lease = l
	return true, nil
}

// now returns the lease as it is in the table.
func (t *table) now() store.Lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lease
}

func (t *table) cutOff(url string, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut[url] = cut
}

// A member is a server that takes part.
type member struct {
	*Elector
	url  string
	stop func()
}

func join(t *testing.T, tb *table, url string) *member { return joinWith(t, tb, url, nil) }

func joinWith(t *testing.T, tb *table, url string, hanging func() time.Duration) *member {
	return joinAs(t, tb, url, Config{Hanging: hanging})
}

func joinAs(t *testing.T, tb *table, url string, c Config) *member {
	m := &member{Elector: New(Config{Leases: seat{tb, url}, URL: url, Hanging: c.Hanging, Ready: c.Ready, Logger: slog.New(slog.DiscardHandler)}), url: url}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	m.stop = func() { cancel(); <-done }
	return m
}

// writer returns the URL of the server that all of them take for the writer.
func writer(t *testing.T, members ...*member) string {
	t.Helper()
	url, selves := members[0].Writer().URL, 0
	for _, m := range members {
		w := m.Writer()
		if w.URL != url || w.Self != (w.URL == m.url) {
			t.Errorf("%s takes %+v for the writer, and %s takes %s", m.url, w, members[0].url, url)
		}
		if w.Self {
			selves++
		}
	}
	if selves > 1 {
		t.Errorf("%d servers take themselves for the writer", selves)
	}
	return url
}

func TestElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &table{cut: map[string]bool{}}
		a := join(t, tb, "a")
		time.Sleep(time.Second)
		b, c := join(t, tb, "b"), join(t, tb, "c")
		time.Sleep(time.Minute)
		if w := writer(t, a, b, c); w != "a" {
			t.Fatalf("the writer is %q, want the first server", w)
		}

		// one that stops frees the lease
		a.stop()
		time.Sleep(time.Second)
		first := writer(t, b, c)
		if first == "" || first == "a" {
			t.Fatalf("after the writer has stopped, it is %q", first)
		}

		// one that is cut off is silent; what it takes itself for is unknown
		tb.cutOff(first, true)
		time.Sleep(3 * time.Second)
		gone, other := b, c
		if first == "c" {
			gone, other = c, b
		}
		if w := other.Writer(); !w.Self {
			t.Fatalf("after three seconds of silence the writer is %+v", w)
		}
		if w := gone.Writer(); w != (Writer{}) {
			t.Fatalf("the server that is cut off takes %+v for the writer", w)
		}

		// it comes back, and takes its place behind the other
		tb.cutOff(first, false)
		time.Sleep(time.Second)
		if w := writer(t, b, c); w != other.url {
			t.Fatalf("the writer is %q, want %q", w, other.url)
		}
		b.stop()
		c.stop()
		if tb.now().Holder != [16]byte{} {
			t.Error("the last server has not freed the lease")
		}
	})
}

// TestHangingCommits checks that a server whose commits hang leaves the lease
// to another one, and does not take it while they do.
func TestHangingCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &table{cut: map[string]bool{}}
		var since atomic.Pointer[time.Time]
		a := joinWith(t, tb, "a", func() time.Duration {
			if at := since.Load(); at != nil {
				return time.Since(*at)
			}
			return 0
		})
		time.Sleep(time.Second)
		b := join(t, tb, "b")
		time.Sleep(time.Second)
		begun := time.Now()
		since.Store(&begun)
		time.Sleep(4 * time.Second)
		if w := writer(t, a, b); w != "a" {
			t.Fatalf("after a commit of 4 s the writer is %q", w)
		}
		time.Sleep(2 * time.Second)
		if w := writer(t, a, b); w != "b" {
			t.Fatalf("after a commit of 6 s the writer is %q", w)
		}
		b.stop()
		time.Sleep(10 * time.Second)
		if w := a.Writer(); w != (Writer{}) {
			t.Fatalf("a server whose commit hangs takes %+v for the writer", w)
		}
		since.Store(nil)
		time.Sleep(3 * time.Second)
		if !a.Writer().Self {
			t.Error("a server whose commits work again does not take the free lease")
		}
		a.stop()
	})
}

// TestResign checks that a server that is about to end leaves the lease to
// another one at once, sees which one that is, and takes it no more.
func TestResign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &table{cut: map[string]bool{}}
		a := join(t, tb, "a")
		time.Sleep(time.Second)
		b := join(t, tb, "b")
		time.Sleep(time.Second)
		a.Resign()
		synctest.Wait()
		if w := a.Writer(); w != (Writer{}) || tb.now().Holder != [16]byte{} {
			t.Fatalf("a server that has resigned takes %+v for the writer, and the lease is %+v", w, tb.now())
		}
		time.Sleep(700 * time.Millisecond)
		if w := writer(t, a, b); w != "b" {
			t.Fatalf("after the writer has resigned, it is %q", w)
		}
		b.stop()
		time.Sleep(time.Minute)
		if w := a.Writer(); w != (Writer{}) || tb.now().Holder != [16]byte{} {
			t.Errorf("a server that has resigned takes %+v for the writer, and the lease is %+v", w, tb.now())
		}
		a.stop()
	})
}

// TestNotReady checks that a server that refuses appends leaves the lease to
// another one until it accepts them.
func TestNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &table{cut: map[string]bool{}}
		var behind atomic.Bool
		a := joinAs(t, tb, "a", Config{Ready: func() error {
			if behind.Load() {
				return errors.New("the clock is behind the last entry")
			}
			return nil
		}})
		time.Sleep(time.Second)
		b := join(t, tb, "b")
		time.Sleep(time.Second)
		behind.Store(true)
		time.Sleep(time.Second)
		if w := writer(t, a, b); w != "b" {
			t.Fatalf("beside a server that refuses appends the writer is %q", w)
		}
		b.stop()
		time.Sleep(10 * time.Second)
		if w := a.Writer(); w != (Writer{}) {
			t.Fatalf("a server that refuses appends takes %+v for the writer", w)
		}
		behind.Store(false)
		time.Sleep(time.Second)
		if !a.Writer().Self {
			t.Error("a server that accepts appends again does not take the free lease")
		}
		a.stop()
	})
}

// Servers that start at once choose one of them.
func TestElectionAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb := &table{cut: map[string]bool{}}
		var members []*member
		for i := range 8 {
			members = append(members, join(t, tb, fmt.Sprint(i)))
		}
		time.Sleep(time.Second)
		if writer(t, members...) == "" {
			t.Error("there is no writer")
		}
		for _, m := range members {
			m.stop()
		}
	})
}
