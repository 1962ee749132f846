package cachereport

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/adaptivecache"
)

// A fakeLedger fails as often as it should.
type fakeLedger struct {
	mu       sync.Mutex
	fail     error
	attempts int
	keys     []string
	payloads []snapshot
}

func (l *fakeLedger) Append(_ context.Context, s muniment.Submission) (r muniment.Result, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts++
	if l.fail != nil {
		return r, l.fail
	}
	var v snapshot
	if err := json.Unmarshal(s.Payload, &v); err != nil {
		return r, err
	}
	l.keys, l.payloads = append(l.keys, s.IdempotencyKey), append(l.payloads, v)
	return r, nil
}

func (l *fakeLedger) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// of returns a metric of a snapshot.
func (s *snapshot) of(name string) (m metric) {
	for _, m := range s.Metrics {
		if m.Name == name {
			return m
		}
	}
	return metric{Value: -1}
}

func newCache(t *testing.T) *adaptivecache.Cache[string, int] {
	t.Helper()
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := adaptivecache.New(member, adaptivecache.Options[string, int]{
		Resolver: "product", Key: func(key string) string { return key }, MaxWeight: 100,
		Load: func(context.Context, string) (adaptivecache.Result[string, int], error) {
			time.Sleep(100 * time.Millisecond)
			return adaptivecache.Result[string, int]{Value: 1}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func read(t *testing.T, c *adaptivecache.Cache[string, int], n int) {
	t.Helper()
	for range n {
		if _, err := c.Get(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, ledger := newCache(t), &fakeLedger{}
		r, err := Start(Options{Ledger: ledger, Service: "shop", Caches: map[string]Cache{"product": cache}, Window: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		read(t, cache, 10)
		time.Sleep(90 * time.Second)
		cache.Disable()
		read(t, cache, 2)
		if err := cache.Invalidate(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(ledger.payloads) != 2 || ledger.keys[0] == ledger.keys[1] {
			t.Fatalf("%d entries with the keys %q", len(ledger.payloads), ledger.keys)
		}
		first, second := ledger.payloads[0], ledger.payloads[1]
		if first.Service != "shop/product" || !first.Window.To.Equal(second.Window.From) || first.Window.To.Sub(first.Window.From) != time.Minute {
			t.Errorf("%s from %v to %v, then from %v", first.Service, first.Window.From, first.Window.To, second.Window.From)
		}
		for _, want := range []struct {
			window *snapshot
			name   string
			least  float64
			most   float64
		}{
			{&first, "hit_ratio", 0.9, 0.9}, {&first, "wait_p50", 0, 0}, {&first, "wait_p99", 100, 113}, {&first, "stale_checked", 9, 9},
			{&first, "loads", 1, 1}, {&first, "ttl", 8750, 10_000}, {&first, "lost_entries", 0, 0}, {&first, "entries", 1, 1},
			{&second, "hit_ratio", 0, 0}, {&second, "wait_p50", 100, 113}, {&second, "bypassed", 2, 2}, {&second, "invalidations", 1, 1}, {&second, "hot_keys", 0, 0}, {&second, "stale_checked", 0, 0}, {&second, "entries", 0, 0},
		} {
			if m := want.window.of(want.name); m.Value < want.least || m.Value > want.most {
				t.Errorf("%s is %v, want %v to %v", want.name, m.Value, want.least, want.most)
			}
		}
		if first.of("hit_ratio").Samples != "10" || second.of("hit_ratio").Samples != "2" {
			t.Errorf("samples: %+v, %+v", first.of("hit_ratio"), second.of("hit_ratio"))
		}
	})
}

// TestOutage checks that entries are kept and repeated while the ledger cannot
// be reached, and that those that are lost are counted.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, ledger := newCache(t), &fakeLedger{fail: connect.NewError(connect.CodeUnavailable, errors.New("down"))}
		r, err := Start(Options{Ledger: ledger, Service: "shop", Caches: map[string]Cache{"product": cache}, Window: time.Minute, Queue: 3})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Minute + time.Second) // one entry is being sent, three wait
		if s := r.State(); s.Lost != 6 || s.Waiting != 3 || s.Recorded != 0 || s.Err == nil {
			t.Errorf("%+v; want 6 lost and 3 waiting", s)
		}
		ledger.set(nil)
		err = r.Close(t.Context())
		if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "7 of 11 entries: unavailable: down") {
			t.Errorf("Close: %v", err)
		}
		if last := ledger.payloads[len(ledger.payloads)-1]; last.of("lost_entries").Value != 6 {
			t.Errorf("the last entry has %v lost entries", last.of("lost_entries").Value)
		}
		if ledger.attempts > 4+6+10 {
			t.Errorf("%d attempts in 10 minutes", ledger.attempts)
		}
	})
}

// TestRefusal checks that a refused entry doesn't hold up the next one, and
// that Close gives up when its context ends.
func TestRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, ledger := newCache(t), &fakeLedger{fail: connect.NewError(connect.CodeInvalidArgument, errors.New("no"))}
		r, err := Start(Options{Ledger: ledger, Service: "shop", Caches: map[string]Cache{"product": cache}, Window: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		ledger.set(errors.New("not verified"))
		time.Sleep(time.Minute)
		if s := r.State(); s.Lost != 1 || s.Recorded != 0 {
			t.Errorf("%+v; want one refused entry", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 {
			if err := r.Close(ctx); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "3 of 3 entries: not verified") {
				t.Errorf("Close: %v", err)
			}
		}
	})
}

func TestStart(t *testing.T) {
	caches := map[string]Cache{"product": newCache(t)}
	for want, o := range map[string]Options{
		"a reporter must have a ledger":                {Service: "shop", Caches: caches},
		"service: must have 1 to 128 bytes, has 0":     {Ledger: &fakeLedger{}, Caches: caches},
		"a reporter must have at least one cache":      {Ledger: &fakeLedger{}, Service: "shop"},
		"window: must be from 1 s to 24 h, is 1ms":     {Ledger: &fakeLedger{}, Service: "shop", Caches: caches, Window: time.Millisecond},
		`resolver "": must have 1 to 127 bytes, has 0`: {Ledger: &fakeLedger{}, Service: "shop", Caches: map[string]Cache{"": newCache(t)}},
	} {
		if _, err := Start(o); err == nil || err.Error() != want {
			t.Errorf("Start: %v; want %s", err, want)
		}
	}
}
