// Package storetest is the conformance suite of storage engines: the contract
// of package store as a program.
//
// It also gives engines what they need for tests of their own: a Source of
// commits and a Model to compare a store with.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

// A Disk is a place for one store. It opens the store that is there, or makes a
// new one. The suite closes a store before it opens the disk again.
type Disk func() (store.Store, error)

// Run checks that an engine keeps every promise of store.Store. It calls
// newDisk for each test; the disk must be empty.
func Run(t *testing.T, newDisk func(t *testing.T) Disk) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Disk)
	}{
		{"NewStore", testNewStore},
		{"State", testState},
		{"Conflict", testConflict},
		{"SlicesNotKept", testSlicesNotKept},
		{"Sizes", testSizes},
		{"SkeletonRanges", testSkeletonRanges},
		{"Checkpoints", testCheckpoints},
		{"Cosigned", testCosigned},
		{"PostingsBoundaries", testPostingsBoundaries},
		{"KeyFilter", testKeyFilter},
		{"KeyFilterRaces", testKeyFilterRaces},
		{"ProjectionsStop", testProjectionsStop},
		{"ReplaceProjections", testReplaceProjections},
		{"ReplaceProjectionsFails", testReplaceProjectionsFails},
		{"ReplaceTiles", testReplaceTiles},
		{"Large", testLarge},
		{"Erase", testErase},
		{"Copied", testCopied},
		{"FreeBytes", testFreeBytes},
		{"CloseWaits", testCloseWaits},
		{"Readers", testReaders},
		{"Metamorphic", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.run == nil {
				testMetamorphic(t, newDisk, false)
				return
			}
			test.run(t, newDisk(t))
		})
	}
}

// RunLarge is the part of Run about large payloads and erasures, for another
// place of large payloads in an engine that passes Run.
func RunLarge(t *testing.T, newDisk func(t *testing.T) Disk) {
	t.Run("Large", func(t *testing.T) { testLarge(t, newDisk(t)) })
	t.Run("Erase", func(t *testing.T) { testErase(t, newDisk(t)) })
	t.Run("Metamorphic", func(t *testing.T) { testMetamorphic(t, newDisk, false) })
}

func open(t *testing.T, disk Disk) store.Store {
	t.Helper()
	s, err := disk()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func reopen(t *testing.T, disk Disk, s store.Store) store.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return open(t, disk)
}

func load(t *testing.T, s store.Store) *store.State {
	t.Helper()
	st, err := s.Follow(context.Background(), 0)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return st
}

func commit(t *testing.T, s store.Store, c *store.Commit) {
	t.Helper()
	if err := s.Commit(context.Background(), c); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func check(t *testing.T, m *Model, s store.Store) {
	t.Helper()
	if err := m.Check(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

func checkState(t *testing.T, m *Model, s store.Store) {
	t.Helper()
	if err := m.CheckState(load(t, s)); err != nil {
		t.Fatal(err)
	}
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func testNewStore(t *testing.T, disk Disk) {
	s := open(t, disk)
	m := NewModel()
	checkState(t, m, s)
	check(t, m, s)
	secret := load(t, s).Secret
	for range 2 {
		s = reopen(t, disk, s)
		if got := load(t, s).Secret; got != secret {
			t.Fatalf("the secret changed from %x to %x when the store was opened again", secret, got)
		}
	}
	commit(t, s, NewSource(1).Next(1))
	s = reopen(t, disk, s)
	if got := load(t, s).Secret; got != secret {
		t.Fatalf("the secret changed from %x to %x after a commit", secret, got)
	}
	closeStore(t, s)
}

func testState(t *testing.T, disk Disk) {
	src, m := NewSource(2), NewModel()
	s := open(t, disk)
	for _, n := range []int{1, 31, 32, 33, 64, 1, 100, 2} {
		c := src.Next(n)
		commit(t, s, c)
		m.Commit(c)
		check(t, m, s)
		s = reopen(t, disk, s)
		checkState(t, m, s)
		check(t, m, s)
		if _, err := s.Follow(context.Background(), m.Size()+1); !errors.Is(err, store.ErrDamaged) {
			t.Fatalf("follow a log of size %d from entry %d: got error %v", m.Size(), m.Size()+1, err)
		}
	}
	closeStore(t, s)
}

func testConflict(t *testing.T, disk Disk) {
	src, m := NewSource(3), NewModel()
	s := open(t, disk)
	refused := func(c *store.Commit) {
		t.Helper()
		if err := s.Commit(context.Background(), c); !errors.Is(err, store.ErrLost) {
			t.Fatalf("commit at %d of a log of size %d: got error %v, want a conflict", c.From, m.Size(), err)
		}
		for _, k := range c.Keys {
			if _, err := s.Lookup(context.Background(), k.Key); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("a refused commit left key %x (error %v)", k.Key, err)
			}
		}
		check(t, m, s)
	}
	other := NewSource(4)
	other.Next(40)
	refused(other.Next(3)) // ahead of an empty log
	for range 3 {
		c := src.Next(20)
		commit(t, s, c)
		m.Commit(c)
	}
	for _, from := range []uint64{0, 1, 20, 40, 59, 61, 80, math.MaxUint64} {
		c := other.Next(40)
		c.From = from
		refused(c)
	}
	s = reopen(t, disk, s)
	checkState(t, m, s)
	raw := NewRawSource(4).Next(1)
	raw.From = m.Size()
	if err := s.Commit(context.Background(), raw); err == nil || errors.Is(err, store.ErrLost) {
		t.Fatalf("a raw leaf in a log of streams: got error %v", err)
	}
	c := other.Next(5)
	c.From = 40
	refused(c) // also right after a restart
	c = src.Next(7)
	commit(t, s, c) // and the right one still goes in
	m.Commit(c)
	check(t, m, s)
	closeStore(t, s)
}

func testSlicesNotKept(t *testing.T, disk Disk) {
	src, m := NewSource(5), NewModel()
	s := open(t, disk)
	for range 5 {
		c := src.Next(40)
		m.Commit(Clone(c))
		commit(t, s, c)
		scribble(c)
	}
	check(t, m, s)

	// Nor may a caller that writes to what it read change the store.
	ctx := context.Background()
	hashes, err := s.Tile(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	clear(hashes)
	for i := range m.Size() {
		h, err := s.Header(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		clear(h.Content)
		p, err := s.Payload(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		clear(p.Content)
	}
	cp, err := s.Checkpoint(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	clear(cp.Signed)
	check(t, m, s)
	closeStore(t, s)
}

// testSizes commits openings of the smallest and the largest sizes, and of
// those around the ones at which an engine may change its ways.
func testSizes(t *testing.T, disk Disk) {
	src, m := NewSource(6), NewModel()
	s := open(t, disk)
	sizes := []int{0, 1, 31, 32, 33, 127, 128, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535, 65536, 1 << 20}
	c := src.Next(len(sizes))
	for i, n := range sizes {
		c.Entries[i].Payload.Content = src.bytes(n)
		c.Entries[i].Header.Content = src.bytes(max(1, n))
	}
	c.Entries[0].Payload.Content = nil // an empty payload is a payload
	commit(t, s, c)
	m.Commit(c)
	check(t, m, s)
	s = reopen(t, disk, s)
	check(t, m, s)
	closeStore(t, s)
}

func testSkeletonRanges(t *testing.T, disk Disk) {
	ctx := context.Background()
	src, m := NewSource(7), NewModel()
	s := open(t, disk)
	for _, n := range []int{1, 1, 33, 2, 40, 1} {
		c := src.Next(n)
		commit(t, s, c)
		m.Commit(c)
	}
	size := m.Size()
	step := uint64(1)
	if RaceDetector {
		step = 7
	}
	for from := range size + 1 {
		for to := from; to <= size; to += step {
			got, err := s.Skeletons(ctx, from, to)
			if err != nil {
				t.Fatalf("skeletons %d to %d: %v", from, to, err)
			}
			if uint64(len(got)) != to-from {
				t.Fatalf("skeletons %d to %d: got %d", from, to, len(got))
			}
			for i := range got {
				if got[i] != m.entries[from+uint64(i)].Skeleton {
					t.Fatalf("skeletons %d to %d: %d is wrong", from, to, from+uint64(i))
				}
			}
		}
	}
	for _, r := range [][2]uint64{{0, size + 1}, {size - 1, size + 1}, {size, size + 1}, {size + 5, size + 6}, {0, math.MaxUint64}, {math.MaxUint64 - 1, math.MaxUint64}} {
		if got, err := s.Skeletons(ctx, r[0], r[1]); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("skeletons %d to %d of %d: got %d and error %v, want not found", r[0], r[1], size, len(got), err)
		}
	}
	closeStore(t, s)
}

// testCosigned keeps cosigned checkpoints in any order, some twice, between
// commits.
func testCosigned(t *testing.T, disk Disk) {
	ctx := context.Background()
	src, kept := NewSource(9), map[uint64][]byte{}
	s := open(t, disk)
	check := func() {
		t.Helper()
		sizes := slices.Sorted(maps.Keys(kept))
		for _, minSize := range slices.Concat(around(sizes), []uint64{0, math.MaxUint64}) {
			at, _ := slices.BinarySearch(sizes, minSize)
			got, err := s.Cosigned(ctx, minSize)
			if at == len(sizes) {
				if !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("cosigned checkpoint of size %d or more: got error %v, want not found", minSize, err)
				}
			} else if err != nil || got.Size != sizes[at] || !bytes.Equal(got.Signed, kept[got.Size]) {
				t.Fatalf("cosigned checkpoint of size %d or more: got %+v, %v; want size %d", minSize, got, err, sizes[at])
			}
		}
		last, err := s.LastCosigned(ctx)
		if len(sizes) == 0 {
			if !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("last cosigned checkpoint: got error %v, want not found", err)
			}
		} else if err != nil || last.Size != sizes[len(sizes)-1] || !bytes.Equal(last.Signed, kept[last.Size]) {
			t.Fatalf("last cosigned checkpoint: got %+v, %v", last, err)
		}
	}
	check()
	for _, x := range []struct{ size, instead uint64 }{{40, 40}, {0, 0}, {7, 7}, {40, 40}, {41, 3}, {7, 7}, {42, 41}, {0, 42}, {50, 0}, {51, 51}} {
		size := x.size
		commit(t, s, src.Next(3))
		signed := src.bytes(int(300 + size))
		c := store.Checkpoint{Size: size, Signed: bytes.Clone(signed)}
		if err := s.KeepCosigned(ctx, &c, x.instead); err != nil {
			t.Fatal(err)
		}
		clear(c.Signed)
		delete(kept, x.instead)
		kept[size] = signed
		check()
	}
	s = reopen(t, disk, s)
	check()
	closeStore(t, s)
	if err := s.KeepCosigned(ctx, &store.Checkpoint{}, 0); err == nil {
		t.Fatal("a closed store keeps a checkpoint")
	}
}

func testCheckpoints(t *testing.T, disk Disk) {
	src, m := NewSource(8), NewModel()
	s := open(t, disk)
	for i := range 6 {
		c := src.Next(i*50 + 1)
		c.Checkpoint = nil
		if i%2 == 1 {
			c.Checkpoint = &store.Checkpoint{Size: c.From, Signed: src.bytes(200)}
		}
		commit(t, s, c)
		m.Commit(c)
		if err := m.checkCheckpoints(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, disk, s)
	if err := m.checkCheckpoints(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

// testPostingsBoundaries gives neighbouring terms lists that would show up in
// one another, with gaps of every length that an encoding may treat
// differently.
func testPostingsBoundaries(t *testing.T, disk Disk) {
	src, m := NewSource(9), NewModel()
	s := open(t, disk)
	for _, n := range []int{1, 2, 300, 1, 700} {
		c := src.Next(n)
		c.Postings = nil
		for i, term := range neighbours {
			for at := c.From; at < c.From+uint64(n); at++ {
				switch i % 5 {
				case 0: // nothing
				case 1: // all
					c.Postings = append(c.Postings, store.PostingAt{Term: term, Index: at})
				case 2: // the first and the last of the commit
					if at == c.From || at == c.From+uint64(n)-1 {
						c.Postings = append(c.Postings, store.PostingAt{Term: term, Index: at})
					}
				case 3: // gaps around 128
					if at%129 == 0 || at%127 == 0 {
						c.Postings = append(c.Postings, store.PostingAt{Term: term, Index: at})
					}
				case 4: // only in large commits
					if n > 100 && at%7 == 0 {
						c.Postings = append(c.Postings, store.PostingAt{Term: term, Index: at})
					}
				}
			}
		}
		slices.Reverse(c.Postings)
		commit(t, s, c)
		m.Commit(c)
	}
	if err := m.checkPostings(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	if err := m.checkProjections(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

func testProjectionsStop(t *testing.T, disk Disk) {
	src, m := NewSource(10), NewModel()
	s := open(t, disk)
	c := src.Next(50)
	commit(t, s, c)
	m.Commit(c)
	want := m.Projections()
	for _, stop := range []int{1, len(m.keys), len(m.keys) + 1, len(want)} {
		n := 0
		for p, err := range s.Projections(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			if !equalProjection(p, want[n]) {
				t.Fatalf("projection %d: got %s, want %s", n, describe(p), describe(want[n]))
			}
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Fatalf("the loop ended after %d projections, want %d", n, stop)
		}
	}
	closeStore(t, s) // would hang or fail if a stopped loop had left a read open
}

func testFreeBytes(t *testing.T, disk Disk) {
	s := open(t, disk)
	if free, err := s.FreeBytes(); err != nil || free == 0 {
		t.Fatalf("got %d and error %v", free, err)
	}
	closeStore(t, s)
}
