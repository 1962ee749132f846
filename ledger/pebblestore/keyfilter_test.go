package pebblestore

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// bytes returns the memory of the filter.
func (f *keyFilter) bytes() (n int) {
	for _, level := range f.levels {
		for i := range level {
			n += len(level[i].bits)
		}
	}
	return n
}

// filteredStore returns a store of one compacted table, with its keys.
func filteredStore(t *testing.T) (*Store, []store.KeyAt) {
	t.Helper()
	s := mustOpen(t, memFS())
	src := storetest.NewSource(51)
	var keys []store.KeyAt
	for range 10 {
		c := src.Next(100)
		if err := s.Commit(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, c.Keys...)
	}
	if err := errors.Join(s.db.Flush(), compactAll(s)); err != nil {
		t.Fatal(err)
	}
	return s, keys
}

func mustFilter(t *testing.T, s *Store, keys []store.KeyAt) (f *keyFilter, unknown int) {
	t.Helper()
	f, err := s.keyFilter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if !f.MayHave(&keys[i].Key) {
			t.Fatalf("the filter lacks key %d", i)
		}
	}
	rng := rand.NewChaCha8([32]byte{51})
	for range 1000 {
		var k store.Key
		rng.Read(k[:])
		if f.MayHave(&k) {
			unknown++
		}
	}
	return f, unknown
}

// The filter takes 10 bits per row of the tables, up to a limit. Tables beyond
// it are searched on the disk.
func TestKeyFilterIsBounded(t *testing.T) {
	s, keys := filteredStore(t)
	defer mustClose(t, s)
	f, unknown := mustFilter(t, s, keys)
	if n := f.bytes(); n < len(keys) || n > 100*len(keys) || unknown > 50 {
		t.Errorf("a filter of %d keys has %d bytes, and recognizes %d of 1000 unknown keys", len(keys), n, unknown)
	}
	defer func(n int) { maxFilterBytes = n }(maxFilterBytes)
	maxFilterBytes = f.bytes() - 1
	if f, unknown = mustFilter(t, s, keys); f.bytes() > maxFilterBytes || unknown != 1000 {
		t.Errorf("a filter that is limited to %d bytes has %d, and recognizes %d of 1000 unknown keys", maxFilterBytes, f.bytes(), unknown)
	}
}

// Keys of a table whose filter cannot be read are looked up.
func TestKeyFilterDamaged(t *testing.T) {
	soak.WithoutRace(t)
	s, keys := filteredStore(t)
	fs := s.fs
	mustClose(t, s)
	now := readFiles(t, fs)
	path := now.find(".sst")[0]
	refused := 0
	for at := 50; at < len(now[path]); at += len(now[path]) / 30 {
		now[path][at] ^= 1
		s, err := OpenFS(now.disk(t), "data", damageOptions)
		now[path][at] ^= 1
		if err != nil {
			refused++
			continue
		}
		if _, err := s.KeyFilter(context.Background()); err == nil {
			mustFilter(t, s, keys)
		}
		s.Close() // a compaction may have failed
	}
	if refused > 25 {
		t.Errorf("%d of 30 stores could not be opened", refused)
	}
}

// A store for reading keeps its write-ahead log in memory, and flushes nothing.
func TestKeyFilterReadOnly(t *testing.T) {
	s, keys := filteredStore(t)
	fs := s.fs
	mustClose(t, s)
	r, err := OpenReadOnlyFS(fs, "data", damageOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, r)
	mustFilter(t, r, keys)
}
