package adaptivecache

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRemove checks that removed keys are loaded again, also hot ones, and that
// a load in progress stores nothing.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &origin{values: map[string]int{"a": 1, "b": 1, "slow": 1}}
		c := newCache(t, nil, o, nil)
		want := func(key string, v int) {
			t.Helper()
			if got, err := c.Get(t.Context(), key); got != v || err != nil {
				t.Errorf("%s is %d, %v; want %d", key, got, err, v)
			}
		}
		for range 64 * 8 {
			want("a", 1)
		}
		want("b", 1)
		if s := c.Stats(); s.Hot != 1 || s.Entries != 2 {
			t.Fatalf("%d hot keys, %d entries", s.Hot, s.Entries)
		}
		o.set("a", 2)
		c.Remove("a")
		if s := c.Stats(); s.Hot != 0 || s.HotWeight != 0 || s.Entries != 1 {
			t.Errorf("after the removal: %d hot keys of weight %d, %d entries", s.Hot, s.HotWeight, s.Entries)
		}
		want("a", 2)
		o.set("b", 2)
		c.RemoveAll()
		if n := c.Stats().Entries; n != 0 {
			t.Errorf("%d entries after all were removed", n)
		}
		want("b", 2)

		o.delay = time.Second
		done := make(chan struct{})
		go func() {
			defer close(done)
			want("slow", 1)
		}()
		synctest.Wait()
		o.set("slow", 2)
		c.Remove("slow")
		<-done
		want("slow", 2)
	})
}
