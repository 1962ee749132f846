package storetest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

func testReplaceProjections(t *testing.T, disk Disk) {
	src, m := NewSource(11), NewModel()
	s := open(t, disk)
	for range 3 {
		c := src.Next(60)
		commit(t, s, c)
		m.Commit(c)
	}
	replace := func(p []store.Projection, heads []store.StreamHead) {
		t.Helper()
		if err := s.ReplaceProjections(context.Background(), all(p), heads); err != nil {
			t.Fatal(err)
		}
		m.ReplaceProjections(p, heads)
		check(t, m, s)
		s = reopen(t, disk, s)
		checkState(t, m, s)
		check(t, m, s)
	}
	same, heads := m.Projections(), src.streams
	src.rng.Shuffle(len(same), func(i, j int) { same[i], same[j] = same[j], same[i] })
	replace(same, heads)
	replace(same[:len(same)/2], heads[:1])
	replace(nil, nil)
	replace(same[len(same)/3:], heads)
	replace(same[len(same)/3:], heads)

	// From the store itself: what it reads must be what was there before.
	if err := s.ReplaceProjections(context.Background(), s.Projections(context.Background()), heads); err != nil {
		t.Fatal(err)
	}
	check(t, m, s)
	c := src.Next(40) // and the log goes on
	commit(t, s, c)
	m.Commit(c)
	check(t, m, s)
	s = reopen(t, disk, s)
	checkState(t, m, s)
	closeStore(t, s)
}

func testReplaceProjectionsFails(t *testing.T, disk Disk) {
	src, m := NewSource(12), NewModel()
	s := open(t, disk)
	c := src.Next(30)
	commit(t, s, c)
	m.Commit(c)
	broken := errors.New("the source broke")
	p := m.Projections()
	failing := func(yield func(store.Projection, error) bool) {
		for i := range p {
			if i == len(p)/2 {
				yield(store.Projection{}, broken)
				return
			}
			if !yield(p[i], nil) {
				return
			}
		}
	}
	if err := s.ReplaceProjections(context.Background(), failing, nil); !errors.Is(err, broken) {
		t.Fatalf("got error %v, want the source's", err)
	}
	check(t, m, s) // the old projections are untouched
	if err := s.ReplaceProjections(context.Background(), all(p), src.streams); err != nil {
		t.Fatal(err)
	}
	m.ReplaceProjections(p, src.streams)
	check(t, m, s)
	s = reopen(t, disk, s)
	checkState(t, m, s)
	closeStore(t, s)
}

func all(p []store.Projection) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		for i := range p {
			if !yield(p[i], nil) {
				return
			}
		}
	}
}

func testReplaceTiles(t *testing.T, disk Disk) {
	src, m := NewSource(13), NewModel()
	s := open(t, disk)
	for range 5 {
		c := src.Next(100)
		commit(t, s, c)
		m.Commit(c)
	}
	sound, err := s.Tile(context.Background(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wrong := slices.Clone(sound)
	wrong[7][3] ^= 1
	replace := func(hashes []entry.Hash) {
		t.Helper()
		if err := s.ReplaceTiles(context.Background(), []store.Tile{{Hashes: hashes}}); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, disk, s)
	}
	replace(wrong)
	if got, err := s.Tile(context.Background(), 0, 0); err != nil || !slices.Equal(got, wrong) {
		t.Errorf("the tile is not the one that replaced it: %v", err)
	}
	replace(sound)
	checkState(t, m, s)
	check(t, m, s)
	closeStore(t, s)
}
