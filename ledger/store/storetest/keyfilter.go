package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

// checkKeyFilter returns an error if the store's filter lacks a key that the
// model has, or recognizes many that neither has.
func (m *Model) checkKeyFilter(ctx context.Context, s store.Store) error {
	f, err := s.KeyFilter(ctx)
	if err != nil {
		return err
	}
	for k := range m.keys {
		if !f.MayHave(&k) {
			return fmt.Errorf("the key filter lacks %x", k)
		}
	}
	const strangers = 1000
	rng, wrong := NewSource(m.Size()+1_000_000), 0
	for range strangers {
		if k := store.Key(rng.bytes(len(store.Key{}))); f.MayHave(&k) {
			wrong++
		}
	}
	if wrong > strangers/5 {
		return fmt.Errorf("the key filter recognizes %d of %d unknown keys", wrong, strangers)
	}
	return nil
}

// The filter has all keys whether they were committed just now, before a
// restart, or by a replacement, and forgets erased keys in its own time.
func testKeyFilter(t *testing.T, disk Disk) {
	src, m := NewSource(41), NewModel()
	s := open(t, disk)
	verify := func(when string) {
		t.Helper()
		if err := m.checkKeyFilter(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	verify("new")
	for i := range 8 {
		c := src.Next(100)
		commit(t, s, c)
		m.Commit(c)
		verify(fmt.Sprintf("commit %d", i))
		if i%3 == 1 {
			s = reopen(t, disk, s)
			verify(fmt.Sprintf("reopened after commit %d", i))
		}
	}
	e := m.erasures(src.rng)
	m.Erase(e)
	if err := s.Erase(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	verify("erased")
	m.Purge()
	if err := s.Purge(context.Background()); err != nil {
		t.Fatal(err)
	}
	verify("purged")
	p := m.Projections()
	m.ReplaceProjections(p, src.streams)
	if err := s.ReplaceProjections(context.Background(), all(p), src.streams); err != nil {
		t.Fatal(err)
	}
	verify("replaced")
	closeStore(t, s)
}

// Filters that are taken during commits and compactions have the keys of all
// commits before.
func testKeyFilterRaces(t *testing.T, disk Disk) {
	src, s := NewSource(42), open(t, disk)
	var mu sync.Mutex
	var committed []store.Key
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			mu.Lock()
			keys := committed
			mu.Unlock()
			f, err := s.KeyFilter(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			for i := range keys {
				if !f.MayHave(&keys[i]) {
					t.Errorf("a filter taken after commits of %d keys lacks number %d", len(keys), i)
					return
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for range 60 {
		c := src.Next(20)
		commit(t, s, c)
		mu.Lock()
		for _, k := range c.Keys {
			committed = append(committed, k.Key)
		}
		mu.Unlock()
	}
	close(done)
	wg.Wait()
	closeStore(t, s)
}
