package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

// Spool writes some of the commit's payloads to the store as large ones, and
// puts their names into the commit. The content stays in it, for a model; the
// store is to be given the commit that Unspooled returns.
func Spool(ctx context.Context, s store.Store, c *store.Commit, large func(i int) bool) error {
	for i := range c.Entries {
		if !large(i) {
			continue
		}
		l, err := writeLarge(ctx, s, c.Entries[i].Payload.Content)
		if err != nil {
			return err
		}
		c.Entries[i].Large = &l
	}
	return nil
}

func writeLarge(ctx context.Context, s store.Store, content []byte) (store.LargePayload, error) {
	w, err := s.CreatePayload(ctx)
	if err != nil {
		return store.LargePayload{}, err
	}
	for rest := content; len(rest) > 0; {
		n, err := w.Write(rest[:min(len(rest), 1000)])
		if err != nil {
			return store.LargePayload{}, err
		}
		rest = rest[n:]
	}
	l, err := w.Finish()
	if err != nil {
		return l, err
	}
	if l.Size != uint64(len(content)) {
		return l, fmt.Errorf("a large payload of %d bytes was finished with %d", len(content), l.Size)
	}
	r, err := w.Open()
	if err != nil {
		return l, err
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, content) {
		return l, fmt.Errorf("a large payload of %d bytes reads as %d others (error %w)", len(content), len(got), err)
	}
	return l, nil
}

// Unspooled returns the commit as an engine takes it: the content of large
// payloads is not in it.
func Unspooled(c *store.Commit) *store.Commit {
	k := Clone(c)
	for i := range k.Entries {
		if k.Entries[i].Large != nil {
			k.Entries[i].Payload.Content = nil
		}
	}
	return k
}

// Erasure returns an erasure of the entry with all keys and terms that the
// model has for it, or with a header that stays those keys only.
func (m *Model) Erasure(index uint64, header bool) store.Erasure {
	e := store.Erasure{Index: index, Header: header}
	for k, at := range m.keys {
		if at == index {
			e.Keys = append(e.Keys, k)
		}
	}
	if !header {
		return e
	}
	for t, indexes := range m.postings {
		for _, at := range indexes {
			if at == index {
				e.Terms = append(e.Terms, t)
			}
		}
	}
	return e
}

func testLarge(t *testing.T, disk Disk) {
	ctx := context.Background()
	src, m := NewSource(16), NewModel()
	s := open(t, disk)
	for n := range 4 {
		c := src.Next(10)
		for i := range c.Entries {
			c.Entries[i].Payload.Content = src.bytes([]int{0, 1, 5000, 70_000}[i%4])
		}
		if err := Spool(ctx, s, c, func(i int) bool { return i%3 != n%3 }); err != nil {
			t.Fatal(err)
		}
		commit(t, s, Unspooled(c))
		m.Commit(c)
		check(t, m, s)
		s = reopen(t, disk, s)
		checkState(t, m, s)
		check(t, m, s)
		if err := s.CheckLarge(ctx); err != nil {
			t.Fatal(err)
		}
	}

	// What no commit has named is gone after a restart, and what is discarded
	// at once.
	w, err := s.CreatePayload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("abandoned")); err != nil {
		t.Fatal(err)
	}
	l, err := writeLarge(ctx, s, []byte("finished, and not named"))
	if err != nil {
		t.Fatal(err)
	}
	named, err := s.CreatePayload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := named.Write([]byte("to be discarded")); err != nil {
		t.Fatal(err)
	}
	discarded, err := named.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := named.Write([]byte("more")); err == nil {
		t.Error("a finished payload took more")
	}
	for range 2 {
		if err := named.Discard(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := named.Open(); err == nil {
		t.Error("a discarded payload can be opened")
	}
	refused := func(l store.LargePayload) {
		t.Helper()
		c := NewSource(17).Next(1)
		c.From, c.Entries[0].Large, c.Postings, c.Keys = m.Size(), &l, nil, nil
		if err := s.Commit(ctx, c); err == nil {
			t.Fatal("a commit named a large payload that is not there")
		}
		check(t, m, s)
	}
	refused(discarded)
	refused(store.LargePayload{ID: l.ID, Size: l.Size + 1})
	refused(store.LargePayload{})
	s = reopen(t, disk, s)
	refused(l)

	// A payload belongs to the commit that named it: to discard it is nothing.
	w, err = s.CreatePayload(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := src.Next(1)
	c.Entries[0].Payload.Content = src.bytes(3000)
	if _, err := w.Write(c.Entries[0].Payload.Content); err != nil {
		t.Fatal(err)
	}
	if l, err = w.Finish(); err != nil {
		t.Fatal(err)
	}
	c.Entries[0].Large = &l
	commit(t, s, Unspooled(c))
	m.Commit(c)
	if err := w.Discard(); err != nil {
		t.Fatal(err)
	}
	check(t, m, s)
	refused(l) // nor may another entry have it
	closeStore(t, s)
}

func testErase(t *testing.T, disk Disk) {
	ctx := context.Background()
	src, m := NewSource(18), NewModel()
	s := open(t, disk)
	for range 4 {
		c := src.Next(40)
		if err := Spool(ctx, s, c, func(i int) bool { return i%7 == 0 }); err != nil {
			t.Fatal(err)
		}
		commit(t, s, Unspooled(c))
		m.Commit(c)
	}
	check(t, m, s)

	// What is open stays readable to its end.
	r, err := s.OpenPayload(ctx, 7)
	if err != nil {
		t.Fatal(err)
	}
	c := src.Next(3)
	for _, i := range []uint64{0, 1, 2, 7, 31, 32, 39, 40, 41, 159} {
		c.Erase = append(c.Erase, m.Erasure(i, i%2 == 0))
	}
	// the same evidence again, in the same commit
	c.Keys = append(c.Keys, store.KeyAt{Key: firstKey(c.Erase), Index: c.From})
	before := m.entries[7].Payload.Content
	commit(t, s, c)
	m.Commit(c)
	check(t, m, s)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, before) {
		t.Fatalf("an open payload reads as %d bytes of %d (error %v)", len(got), len(before), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, disk, s)
	checkState(t, m, s)
	check(t, m, s)

	// Again, and more of it, and outside of a commit.
	again := []store.Erasure{m.Erasure(0, true), {Index: 120}, {Index: 120}, m.Erasure(1, true), {Index: 2}, m.Erasure(100, true)}
	again[0].Keys = []store.Key{firstKey(c.Erase)} // which is another entry's by now
	if err := s.Erase(ctx, again); err != nil {
		t.Fatal(err)
	}
	m.Erase(again)
	check(t, m, s)
	if err := s.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	m.Purge()
	check(t, m, s)
	s = reopen(t, disk, s)
	checkState(t, m, s)
	check(t, m, s)

	// What is not in the log can't be erased.
	if err := s.Erase(ctx, []store.Erasure{{Index: m.Size()}}); err == nil {
		t.Fatal("an entry was erased that is not there")
	}
	c = src.Next(1)
	c.Erase = []store.Erasure{{Index: c.From}}
	if err := s.Commit(ctx, c); err == nil {
		t.Fatal("a commit erased its own entry")
	}
	check(t, m, s)
	c.Erase = nil
	commit(t, s, c)
	m.Commit(c)
	check(t, m, s)
	closeStore(t, s)
}

func firstKey(erasures []store.Erasure) store.Key {
	for _, e := range erasures {
		for _, k := range e.Keys {
			return k
		}
	}
	return store.Key{}
}

// erasures returns some of entries that are there.
func (m *Model) erasures(rng *rand.Rand) (out []store.Erasure) {
	for range rng.IntN(4) {
		if m.Size() > 0 {
			out = append(out, m.Erasure(rng.Uint64N(m.Size()), rng.IntN(2) == 0))
		}
	}
	return out
}
