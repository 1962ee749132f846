package policy

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// take acquires a slot and fails the test if that has to wait.
func take(t *testing.T, s *slots, tenant string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := make(chan error, 1)
	go func() { got <- s.acquire(ctx, tenant) }()
	for {
		s.mu.Lock()
		p := s.tenants[tenant]
		waits := p != nil && len(p.waiting) > 0
		s.mu.Unlock()
		select {
		case err := <-got:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
			if waits {
				t.Fatalf("tenant %s waits for a slot", tenant)
			}
		}
	}
}

// waiting waits until n calls of the tenant wait for a slot.
func waiting(s *slots, tenant string, n int) {
	for {
		s.mu.Lock()
		p := s.tenants[tenant]
		ok := p != nil && len(p.waiting) == n
		s.mu.Unlock()
		if ok {
			return
		}
	}
}

func TestSlots(t *testing.T) {
	s := newSlots(4)
	take(t, s, "hostile")
	take(t, s, "hostile")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := s.acquire(context.Background(), "hostile"); err != nil {
				t.Error(err)
			}
			s.release("hostile")
		})
	}
	waiting(s, "hostile", 20)
	take(t, s, "other") // although the hostile tenant waits
	take(t, s, "other")
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() { left <- s.acquire(ctx, "third") }()
	waiting(s, "third", 1)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled caller: %v", err)
	}
	s.release("other")
	take(t, s, "third") // the hostile tenant has its half
	s.release("third")
	s.release("other")
	s.release("hostile")
	s.release("hostile")
	wg.Wait()
	if s.used != 0 || len(s.tenants) != 0 || len(s.turns) != 0 {
		t.Errorf("held at the end: %d slots, %d tenants, %d turns", s.used, len(s.tenants), len(s.turns))
	}
}

// TestSlotTurns checks that waiting tenants are served in turns, however many
// calls of one tenant wait.
func TestSlotTurns(t *testing.T) {
	s := newSlots(2)
	take(t, s, "a")
	take(t, s, "b")
	order := make(chan string, 8)
	var wg sync.WaitGroup
	for n, tenant := range []string{"a", "a", "a", "c"} {
		wg.Go(func() {
			if err := s.acquire(context.Background(), tenant); err != nil {
				t.Error(err)
			}
			order <- tenant
		})
		waiting(s, tenant, map[int]int{0: 1, 1: 2, 2: 3, 3: 1}[n])
	}
	s.release("b")
	if got := <-order; got != "c" { // a has its half
		t.Errorf("%s came first", got)
	}
	s.release("a")
	if got := <-order; got != "a" {
		t.Errorf("%s came next", got)
	}
	s.release("a")
	<-order
	s.release("a")
	<-order
	s.release("a")
	s.release("c")
	wg.Wait()
}

// TestDecisionsAtOnce checks that all policies of a tenant share its slots, and
// that another tenant still gets its own.
func TestDecisionsAtOnce(t *testing.T) {
	const text = "version: 1\nmode: enforce\nrules:\n  - {name: a, unsigned: true, condition: document != null}\n"
	one, another := mustParse(t, text), mustParse(t, text)
	ctx := context.Background()
	ev := func(tenant string) *Evidence { return &Evidence{Tenant: tenant, Document: make([]byte, smallJSON+1)} }
	var releases []func()
	for i := range parsing.each {
		release, err := []*AdmissionPolicy{one, another}[i%2].hold(ctx, ev("hostile"))
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := another.hold(ended, ev("hostile")); err == nil {
		t.Error("a tenant got more than its share of slots")
	}
	for range parsing.each {
		release, err := one.hold(ctx, ev("other")) // blocks if the slots are not shared
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	for _, release := range releases {
		release()
	}
	if parsing.used != 0 || deciding.used != 0 {
		t.Errorf("held at the end: %d and %d", parsing.used, deciding.used)
	}
}
