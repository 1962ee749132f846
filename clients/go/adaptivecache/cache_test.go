package adaptivecache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An origin is a source of truth whose loads can be delayed.
type origin struct {
	mu     sync.Mutex
	values map[string]int
	loads  atomic.Int64
	delay  time.Duration
}

func (o *origin) load(ctx context.Context, key string) (Result[string, int], error) {
	o.loads.Add(1)
	o.mu.Lock()
	v, ok := o.values[key]
	o.mu.Unlock()
	time.Sleep(o.delay)
	if !ok {
		return Result[string, int]{Tags: []string{"type:number"}}, fmt.Errorf("%s: %w", key, ErrNotFound)
	}
	return Result[string, int]{Value: v, Tags: []string{"type:number"}}, nil
}

func (o *origin) set(key string, v int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.values[key] = v
}

func named(key string) string { return Name("number", "", key) }

// newCache returns a cache of an origin whose member is alone unless a bus is
// given.
func newCache(t *testing.T, bus Bus, o *origin, change func(*Options[string, int])) *Cache[string, int] {
	t.Helper()
	m, err := NewMember(bus, MemberOptions{Slots: 1024, Seed: new(uint32)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	options := Options[string, int]{Resolver: "number", Load: o.load, Key: named, MaxWeight: 1000, Change: Changed[int]}
	if change != nil {
		change(&options)
	}
	c, err := New(m, options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t *testing.T, c *Cache[string, int], key string, want int) {
	t.Helper()
	if v, err := c.Get(t.Context(), key); v != want || err != nil {
		t.Fatalf("Get(%q) = %d, %v; want %d", key, v, err, want)
	}
}

func TestInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, err := NewLocalBus(BusOptions{})
		if err != nil {
			t.Fatal(err)
		}
		o := &origin{values: map[string]int{"a": 1, "b": 1}}
		first, second := newCache(t, bus, o, nil), newCache(t, bus, o, nil)
		synctest.Wait()
		for range 3 {
			get(t, first, "a", 1)
			get(t, second, "a", 1)
		}
		if n := o.loads.Load(); n != 2 {
			t.Errorf("%d loads by two members, want 2", n)
		}
		for i, invalidate := range []func() error{
			func() error { return first.Invalidate(t.Context(), "a") },
			func() error { return second.InvalidateAll(t.Context()) },
			func() error { return first.member.Invalidate(t.Context(), "type:number") },
		} {
			o.set("a", 2+i)
			start := time.Now()
			if err := invalidate(); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("invalidation %d took %v although all members answer", i, took)
			}
			get(t, first, "a", 2+i)
			get(t, second, "a", 2+i)
		}
		first.member.Close()
		o.set("a", 9)
		start := time.Now()
		if err := second.Invalidate(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < time.Second || took > 4*time.Second {
			t.Errorf("with a closed member, the invalidation took %v instead of its lease", took)
		}
		get(t, first, "a", 9)
		if first.member.Stats().Attached {
			t.Error("a closed member is attached")
		}
	})
}

// TestLoadRacesWithInvalidation checks that a result that was read before an
// invalidation is returned only to the read that began before it, and never
// stored.
func TestLoadRacesWithInvalidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{values: map[string]int{"a": 1}, delay: time.Second}
		c := newCache(t, nil, o, nil)
		var early, late int
		var wait sync.WaitGroup
		wait.Go(func() { early, _ = c.Get(t.Context(), "a") })
		time.Sleep(500 * time.Millisecond)
		o.set("a", 2)
		if err := c.Invalidate(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		wait.Go(func() { late, _ = c.Get(t.Context(), "a") })
		wait.Wait()
		if early != 1 || late != 2 {
			t.Errorf("read %d before and %d after the invalidation, want 1 and 2", early, late)
		}
		get(t, c, "a", 2)
		if s := c.Stats(); s.Rejected != 1 || s.Loads != 2 {
			t.Errorf("%d rejected results of %d loads, want 1 of 2", s.Rejected, s.Loads)
		}
	})
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{values: map[string]int{"a": 1}, delay: time.Second}
		c := newCache(t, nil, o, nil)
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() { get(t, c, "a", 1) })
		}
		wait.Wait()
		if s := c.Stats(); s.Loads != 1 || s.Joined != 99 {
			t.Errorf("%d loads, joined by %d, want 1 by 99", s.Loads, s.Joined)
		}
	})
}

func TestAbsence(t *testing.T) {
	o := &origin{values: map[string]int{}}
	c := newCache(t, nil, o, nil)
	for range 5 {
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := o.loads.Load(); n != 2 {
		t.Errorf("%d loads, want 2: the first absence is not stored, the second is", n)
	}
	o.set("a", 7)
	if err := c.Invalidate(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	get(t, c, "a", 7)
	for i := range 10_000 {
		_, _ = c.Get(t.Context(), fmt.Sprint("scan", i))
	}
	if s := c.Stats(); s.Entries > 1000 {
		t.Errorf("a scan of absent names stored %d entries", s.Entries)
	}
}

func TestFaultyLoaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		loaders := map[string]func(context.Context) error{
			"panics":        func(context.Context) error { panic("broken") },
			"exits":         func(context.Context) error { runtime.Goexit(); return nil },
			"never returns": func(context.Context) error { <-hang; return nil },
			"waits":         func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"fails":         func(context.Context) error { return errors.New("no route") },
		}
		c := newCache(t, nil, &origin{}, func(o *Options[string, int]) {
			o.MaxLoads = 4
			o.Load = func(ctx context.Context, key string) (r Result[string, int], err error) {
				return r, loaders[key](ctx)
			}
		})
		for key, want := range map[string]string{
			"panics": "load from number: panic: broken", "exits": "load from number: the loader has ended its goroutine",
			"never returns": "load from number: load timed out", "waits": "load from number: load timed out", "fails": "load from number: no route",
		} {
			for range 2 {
				if _, err := c.Get(t.Context(), key); err == nil || err.Error() != want {
					t.Errorf("a loader that %s: %v; want %s", key, err, want)
				}
			}
		}
		synctest.Wait()
		if s := c.Stats(); s.Running != 2 || s.Entries != 0 {
			t.Errorf("%d loads are running and %d entries stored, want 2 and 0", s.Running, s.Entries)
		}
		for range 2 {
			_, _ = c.Get(t.Context(), "never returns")
		}
		if _, err := c.Get(t.Context(), "fails"); !errors.Is(err, ErrOverloaded) {
			t.Errorf("with every place taken: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		close(hang)
		synctest.Wait()
		if _, err := c.Get(ctx, "waits"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a read whose context ended: %v", err)
		}
		time.Sleep(11 * time.Second)
	})
}

func TestFaultyFunctions(t *testing.T) {
	o := &origin{values: map[string]int{"a": 1}}
	c := newCache(t, nil, o, func(o *Options[string, int]) {
		o.Weigh = func(string, int) uint32 { panic("too heavy") }
	})
	var p *PanicError
	if _, err := c.Get(t.Context(), "a"); !errors.As(err, &p) || p.Value != "too heavy" {
		t.Errorf("a panic of Weigh: %v", err)
	}
}

func TestHugeKeys(t *testing.T) {
	huge := strings.Repeat("k", 1<<20)
	o := &origin{values: map[string]int{huge: 1, huge[:300]: 2}}
	c := newCache(t, nil, o, nil)
	for range 3 {
		get(t, c, huge, 1)
		get(t, c, huge[:300], 2)
	}
	if s := c.Stats(); s.Uncacheable != 3 || s.Loads != 4 || s.Entries != 1 {
		t.Errorf("%d uncacheable, %d loads, %d entries; want 3, 4 and 1", s.Uncacheable, s.Loads, s.Entries)
	}
	o.set(huge[:300], 3)
	if err := c.Invalidate(t.Context(), huge[:300], huge); err != nil {
		t.Fatal(err)
	}
	get(t, c, huge[:300], 3)
}

func TestPrivateScope(t *testing.T) {
	if _, ok := Private(""); ok {
		t.Error("a private value without a session has a scope")
	}
	scope, _ := Private("alice")
	names := map[string]bool{}
	for _, name := range []string{Name("r", scope, "1"), Name("r", "", "palice1"), Name("r6:palice", "", "1"), Name("r", "palice1", "")} {
		names[name] = true
	}
	if len(names) != 4 {
		t.Errorf("names of different keys are equal: %v", names)
	}
}

func TestOptions(t *testing.T) {
	m, err := NewMember(nil, MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{}
	for want, options := range map[string]Options[string, int]{
		"a cache must have the functions Load and Key":                      {MaxWeight: 100},
		"MaxWeight must be from 16 to 4503599627370496, and is 0":           {Load: o.load, Key: named},
		"InitialTTL must be from 1m0s to 5m0s, and is 10s":                  {Load: o.load, Key: named, MaxWeight: 100, MinTTL: time.Minute, InitialTTL: 10 * time.Second},
		"SketchWidth must be a power of two from 16 to 16777216, and is 20": {Load: o.load, Key: named, MaxWeight: 100, SketchWidth: 20},
	} {
		if _, err := New(m, options); err == nil || err.Error() != want {
			t.Errorf("New = %v; want %s", err, want)
		}
	}
}
