package adaptivecache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muniment.dev/muniment/internal/soak"
)

// TestClockJumps checks that a clock that jumps forward expires entries, one
// that jumps back makes them unusable, and neither returns an old value or
// stops the cache.
func TestClockJumps(t *testing.T) {
	now := 100 * time.Hour
	bus, err := NewLocalBus(BusOptions{Now: func() time.Duration { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for name, bus := range map[string]Bus{"alone": nil, "with a lease": bus} {
		now = 100 * time.Hour
		seed := uint32(0)
		m, err := NewMember(nil, MemberOptions{Now: func() time.Duration { return now }, Seed: &seed})
		if err != nil {
			t.Fatal(err)
		}
		if bus != nil { // the test polls in place of the member
			m.bus = bus
			m.grant(Grant{Epoch: "e"}, m.micros())
		}
		o := &origin{values: map[string]int{"a": 1}}
		c, err := New(m, Options[string, int]{Resolver: "number", Load: o.load, Key: named, MaxWeight: 100, Grace: time.Hour, spawn: func(f func()) { f() }})
		if err != nil {
			t.Fatal(err)
		}
		get(t, c, "a", 1)
		for i, jump := range []time.Duration{-time.Microsecond, -50 * time.Hour, 20 * time.Hour, 10_000 * time.Hour, -10_000 * time.Hour, 1<<62 - 100*time.Hour, -1 << 62} {
			now += jump
			o.set("a", 2+i)
			get(t, c, "a", 2+i)
			if bus != nil {
				m.grant(Grant{Epoch: "e"}, m.micros())
			}
			get(t, c, "a", 2+i)
		}
		if s := c.Stats(); s.Entries > 1 || s.Running != 0 || s.Waits.Reads() != s.Hits+s.LateHits+s.Misses {
			t.Errorf("%s: after the jumps: %d entries, %d running loads, %d waits of %d reads", name, s.Entries, s.Running, s.Waits.Reads(), s.Hits+s.Misses)
		}
	}
}

// TestFaultyKeys checks keys whose hash panics, which a type of keys that is an
// interface allows, and keys that differ from themselves.
func TestFaultyKeys(t *testing.T) {
	m, err := NewMember(nil, MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	unhashable := []int{1}
	c, err := New(m, Options[any, int]{
		Resolver: "any", MaxWeight: 100, MaxLoads: 4, spawn: func(f func()) { f() },
		Key: func(key any) string { return fmt.Sprintf("%v", key) },
		Load: func(context.Context, any) (Result[any, int], error) {
			return Result[any, int]{Value: 1, Edges: []any{unhashable, math.NaN(), 7}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a key without a hash did not panic in its own read")
				}
			}()
			_, _ = c.Get(t.Context(), unhashable)
		}()
	}
	for range 100 {
		if v, err := c.Get(t.Context(), math.NaN()); v != 1 || err != nil {
			t.Fatal(v, err)
		}
	}
	for range hitBatch * 8 { // the key becomes hot, and its edges are tried
		if v, err := c.Get(t.Context(), "a"); v != 1 || err != nil {
			t.Fatal(v, err)
		}
	}
	if s := c.Stats(); s.Hot != 1 || s.Failed == 0 || s.Running != 0 || s.Uncacheable != 100 || len(c.flights) != 0 || s.Entries > 2 {
		t.Errorf("%d hot, %d failed, %d running, %d uncacheable, %d flights, %d entries", s.Hot, s.Failed, s.Running, s.Uncacheable, len(c.flights), s.Entries)
	}
}

// TestFaultyValues checks values whose comparison panics when they are loaded
// again.
func TestFaultyValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{values: map[string]int{"a": 1}}
		c := newCache(t, nil, o, func(o *Options[string, int]) {
			o.Change = func(_, _ int) uint32 { panic("incomparable") }
		})
		get(t, c, "a", 1)
		time.Sleep(time.Minute)
		var p *PanicError
		if _, err := c.Get(t.Context(), "a"); !errors.As(err, &p) || p.Value != "incomparable" {
			t.Errorf("a panic of Change: %v", err)
		}
		synctest.Wait()
		if s := c.Stats(); s.Failed != 1 || s.Running != 0 || len(c.flights) != 0 {
			t.Errorf("%d failed, %d running, %d flights", s.Failed, s.Running, len(c.flights))
		}
	})
}

// TestPoisonedMessages checks that whatever a bus sends, a member neither fails
// nor serves an entry that a message it could not read may concern.
func TestPoisonedMessages(t *testing.T) {
	long := strings.Repeat("t", 1<<20)
	for name, g := range map[string]Grant{
		"no tags":       {Epoch: "e", Head: 1, Messages: []Message{{Seq: 1}}},
		"an empty tag":  {Epoch: "e", Head: 1, Messages: []Message{{Seq: 1, Tags: []string{""}}}},
		"a huge tag":    {Epoch: "e", Head: 1, Messages: []Message{{Seq: 1, Tags: []string{long}}}},
		"too many tags": {Epoch: "e", Head: 1, Messages: []Message{{Seq: 1, Tags: make([]string, 1<<16)}}},
		"a gap":         {Epoch: "e", Head: 3, Messages: []Message{{Seq: 3, Tags: []string{"a"}}}},
		"a cycle":       {Epoch: "e", Head: 1, Messages: []Message{{Seq: 1, Tags: []string{"a"}}, {Seq: 1, Tags: []string{"b"}}}},
		"overflow":      {Epoch: "e", Head: math.MaxUint64, Messages: []Message{{Seq: math.MaxUint64, Tags: []string{"a"}}, {Seq: 0, Tags: []string{"a"}}}},
		"a missing one": {Epoch: "e", Head: 5},
		"a huge epoch":  {Epoch: long},
		"no epoch":      {Head: 1, Messages: []Message{{Seq: 1, Tags: []string{"a"}}}},
		"another epoch": {Epoch: "other", Head: 1},
		"a false reset": {Epoch: "e", Reset: true, Head: math.MaxUint64},
	} {
		now := time.Hour
		m, err := NewMember(nil, MemberOptions{Now: func() time.Duration { return now }})
		if err != nil {
			t.Fatal(err)
		}
		m.bus = &LocalBus{} // the test answers the polls
		m.grant(Grant{Epoch: "e"}, m.micros())
		o := &origin{values: map[string]int{"a": 1}}
		c, err := New(m, Options[string, int]{Resolver: "number", Load: o.load, Key: named, MaxWeight: 100})
		if err != nil {
			t.Fatal(err)
		}
		get(t, c, "a", 1)
		o.set("a", 2)
		now += time.Second
		if m.grant(g, m.micros()) {
			get(t, c, "a", 2) // accepted, and everything dropped
			continue
		}
		now += m.duration(m.lease) // ignored, so the lease ends
		get(t, c, "a", 2)
		if m.Stats().IgnoredGrants != 1 {
			t.Errorf("%s: not counted", name)
		}
	}
}

// TestCardinality checks that what a cache holds is bounded, however many keys
// are read, and however often hot ones change.
func TestCardinality(t *testing.T) {
	soak.WithoutRace(t)
	m, err := NewMember(nil, MemberOptions{Slots: 1024})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(m, Options[int, int]{
		Resolver: "number", Key: historyName, MaxWeight: 500, MaxHot: 8, Weigh: func(_, v int) uint32 { return uint32(1 + v%5) },
		Load: func(_ context.Context, key int) (Result[int, int], error) {
			return Result[int, int]{Value: key, Tags: []string{fmt.Sprint("tag", key)}, Edges: []int{key + 1, key + 2}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range 50_000 {
		reads := 1
		if key%1000 == 0 {
			reads = 10 * hitBatch // hot for a while
		}
		for range reads {
			if v, err := c.Get(t.Context(), key); v != key || err != nil && !errors.Is(err, ErrOverloaded) {
				t.Fatal(v, err)
			}
		}
		if s := key % 5000; s == 0 {
			c.store.CleanUp()
			if s := c.Stats(); s.Weight+s.HotWeight > 500 || s.Hot > 8 || s.Entries > 501 || s.Running > 256 {
				t.Fatalf("after %d keys: weight %d and %d, %d hot, %d entries, %d loads", key, s.Weight, s.HotWeight, s.Hot, s.Entries, s.Running)
			}
		}
	}
}

// TestSwitch checks that a cache that is switched off reads the origin each
// time, and returns nothing from before that when it is on again.
func TestSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{values: map[string]int{"a": 1}, delay: time.Second}
		c := newCache(t, nil, o, nil)
		for range 10 * hitBatch {
			get(t, c, "a", 1)
		}
		if s := c.Stats(); s.Hot != 1 || !s.Enabled {
			t.Fatalf("%d hot, enabled %v", s.Hot, s.Enabled)
		}
		var wait sync.WaitGroup
		wait.Go(func() { _, _ = c.Get(t.Context(), "b") })
		o.set("b", 1)
		synctest.Wait() // the load of b has read the origin
		c.Disable()
		c.Disable()
		for i := range 3 {
			o.set("a", 2+i) // without an invalidation
			get(t, c, "a", 2+i)
		}
		if s := c.Stats(); s.Bypassed != 3 || s.Entries != 0 || s.Hot != 0 || s.Weight+s.HotWeight != 0 || s.Enabled {
			t.Errorf("%d reads bypassed, %d entries, %d hot, weight %d, enabled %v", s.Bypassed, s.Entries, s.Hot, s.Weight, s.Enabled)
		}
		// A read from before the switch ends after it.
		wait.Go(func() { _, _ = c.Get(t.Context(), "c") })
		synctest.Wait()
		o.set("c", 1)
		o.set("b", 2)
		c.Enable()
		wait.Wait()
		get(t, c, "a", 4)
		get(t, c, "b", 2)
		get(t, c, "c", 1)
		loads := o.loads.Load()
		get(t, c, "a", 4)
		get(t, c, "b", 2)
		if s := c.Stats(); o.loads.Load() != loads || s.Entries != 3 || s.Waits.Reads() != s.Hits+s.Misses {
			t.Errorf("after the switch, %d loads and %d entries, want 0 and 3; %d waits", o.loads.Load()-loads, s.Entries, s.Waits.Reads())
		}
	})
}

// TestSwitchRaces switches a cache off and on while it is read.
func TestSwitchRaces(t *testing.T) {
	o := &origin{values: map[string]int{"a": 1, "b": 1}}
	c := newCache(t, nil, o, nil)
	var reads sync.WaitGroup
	for range 4 {
		reads.Go(func() {
			for range 2000 {
				get(t, c, "a", 1)
				get(t, c, "b", 1)
			}
		})
	}
	for i := range 101 {
		if i%2 == 0 {
			c.Disable()
		} else {
			c.Enable()
		}
	}
	reads.Wait()
	if s := c.Stats(); s.Enabled || s.Entries != 0 || s.Hot != 0 || s.HotWeight != 0 {
		t.Errorf("switched off: %d entries, %d hot with weight %d", s.Entries, s.Hot, s.HotWeight)
	}
}

func TestWaits(t *testing.T) {
	var n waitCounts
	for i := range int64(100) {
		n.add(1000 * i)
	}
	before := n.snapshot(0)
	n.add(-5)
	n.add(1 << 60)
	all := n.snapshot(900)
	if all.Reads() != 1002 || all.Quantile(50) != 0 || all.Quantile(99) < 89*time.Millisecond || all.Quantile(99) > 100*time.Millisecond {
		t.Errorf("%d reads, p50 %v, p99 %v", all.Reads(), all.Quantile(50), all.Quantile(99))
	}
	if since := all.Since(&before); since.Reads() != 902 || since.Sum() != time.Duration(maxLatency)*time.Microsecond {
		t.Errorf("since then %d reads, which waited %v", since.Reads(), since.Sum())
	}
	limits := all.Cumulative()
	if len(limits) != 34 || limits[192*time.Microsecond] != 902 || limits[1<<24*time.Microsecond] != 1001 {
		t.Errorf("cumulative: %v", limits)
	}
}
