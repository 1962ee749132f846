package adaptivecache

import (
	"context"
	"testing"
	"time"
)

// TestChange checks that settings take effect, and that only one of two changes
// from the same settings does.
func TestChange(t *testing.T) {
	member, err := NewMember(nil, MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(member, Options[string, string]{
		Resolver: "r", MaxWeight: 1000, Key: func(k string) string { return k }, Random: func() uint32 { return 0 }, Inline: true, NoPrefetch: true,
		Load: func(_ context.Context, k string) (Result[string, string], error) {
			return Result[string, string]{Value: k, Edges: []string{k + "+"}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(key string, times int) {
		t.Helper()
		for range times {
			if v, err := c.Get(t.Context(), key); v != key || err != nil {
				t.Fatalf("%s, %v", v, err)
			}
		}
	}
	get("a", 1000)
	if s := c.Stats(); s.Prefetches != 0 || s.Hot != 1 || s.TTLMicros != 10_000_000 {
		t.Errorf("before: %d prefetches, %d hot keys, lifetime %d", s.Prefetches, s.Hot, s.TTLMicros)
	}
	before := c.Settings()
	after := Settings{Enabled: true, Prefetch: true, MinTTL: time.Minute, MaxTTL: time.Hour}
	if done, err := c.Change(before, after); !done || err != nil || c.Settings() != after {
		t.Errorf("%v, %v: %+v", done, err, c.Settings())
	}
	if done, err := c.Change(before, Settings{Enabled: false, MinTTL: time.Minute, MaxTTL: time.Hour}); done || err != nil || !c.Enabled() {
		t.Errorf("a change from other settings: %v, %v", done, err)
	}
	get("a", 1000)
	get("b", 1)
	if s := c.Stats(); s.Prefetches == 0 || s.TTLMicros != 60_000_000 {
		t.Errorf("after: %d prefetches, lifetime %d", s.Prefetches, s.TTLMicros)
	}
	if !c.Flush(0) || c.Flush(0) || c.Flushes() != 1 {
		t.Errorf("%d flushes", c.Flushes())
	}
	if s := c.Stats(); s.Entries != 0 || s.Hot != 0 || !s.Enabled {
		t.Errorf("after a flush: %d entries, %d hot", s.Entries, s.Hot)
	}
	after.Enabled = false
	if done, err := c.Change(c.Settings(), after); !done || err != nil || c.Enabled() {
		t.Errorf("%v, %v", done, err)
	}
	if _, err := c.Change(after, Settings{MinTTL: time.Hour, MaxTTL: time.Minute}); err == nil {
		t.Error("MaxTTL below MinTTL is accepted")
	}
}
