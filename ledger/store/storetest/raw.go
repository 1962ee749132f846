package storetest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

// RunRaw is Run for the stores of raw logs.
func RunRaw(t *testing.T, newDisk func(t *testing.T) Disk) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Disk)
	}{
		{"State", testRawState},
		{"SlicesNotKept", testRawSlicesNotKept},
		{"Sizes", testRawSizes},
		{"Ranges", testLeafRanges},
		{"Kinds", testKinds},
		{"Records", testRecords},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newDisk(t)) })
	}
	t.Run("Metamorphic", func(t *testing.T) { testMetamorphic(t, newDisk, true) })
}

func testRawState(t *testing.T, disk Disk) {
	src, m := NewRawSource(2), NewRawModel()
	s := open(t, disk)
	checkState(t, m, s)
	for _, n := range []int{1, 31, 32, 33, 64, 1, 100, 2} {
		c := src.Next(n)
		commit(t, s, c)
		m.Commit(c)
		check(t, m, s)
		s = reopen(t, disk, s)
		checkState(t, m, s)
		check(t, m, s)
	}
	closeStore(t, s)
}

func testRawSlicesNotKept(t *testing.T, disk Disk) {
	src, m := NewRawSource(5), NewRawModel()
	s := open(t, disk)
	for range 5 {
		c := src.Next(40)
		m.Commit(Clone(c))
		commit(t, s, c)
		scribble(c)
	}
	check(t, m, s)
	leaves, err := s.Leaves(context.Background(), 0, m.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range leaves { // nor may a caller that writes to what it read change the store
		clear(leaf)
	}
	check(t, m, s)
	closeStore(t, s)
}

func testRawSizes(t *testing.T, disk Disk) {
	src, m := NewRawSource(6), NewRawModel()
	s := open(t, disk)
	sizes := []int{1, 31, 32, 127, 128, 255, 256, 1023, 1024, 16383, 16384, store.MaxLeafSize, store.MaxLeafSize, store.MaxLeafSize}
	c := src.Next(len(sizes))
	for i, n := range sizes {
		c.Leaves[i].Data = src.bytes(n)
	}
	commit(t, s, c)
	m.Commit(c)
	check(t, m, s)
	s = reopen(t, disk, s)
	check(t, m, s)
	closeStore(t, s)
}

func testLeafRanges(t *testing.T, disk Disk) {
	ctx := context.Background()
	src, m := NewRawSource(7), NewRawModel()
	s := open(t, disk)
	for _, n := range []int{1, 1, 33, 2, 40, 1} {
		c := src.Next(n)
		commit(t, s, c)
		m.Commit(c)
	}
	size := m.Size()
	for from := range size + 1 {
		for to := from; to <= size; to += 3 {
			got, err := s.Leaves(ctx, from, to)
			if err != nil || uint64(len(got)) != to-from {
				t.Fatalf("leaves %d to %d: got %d, %v", from, to, len(got), err)
			}
			for i := range got {
				if !bytes.Equal(got[i], m.leaves[from+uint64(i)].Data) {
					t.Fatalf("leaves %d to %d: %d is wrong", from, to, from+uint64(i))
				}
			}
		}
	}
	for _, r := range [][2]uint64{{0, size + 1}, {size - 1, size + 1}, {size, size + 1}, {size + 5, size + 6}, {0, math.MaxUint64}, {math.MaxUint64 - 1, math.MaxUint64}} {
		if got, err := s.Leaves(ctx, r[0], r[1]); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("leaves %d to %d of %d: got %d and error %v, want not found", r[0], r[1], size, len(got), err)
		}
	}
	closeStore(t, s)
}

// testKinds commits what a raw log can't hold. Nothing of it may be written.
func testKinds(t *testing.T, disk Disk) {
	src, m := NewRawSource(8), NewRawModel()
	s := open(t, disk)
	c := src.Next(3)
	commit(t, s, c)
	m.Commit(c)
	next := src.Next(3)
	for name, leaf := range map[string][]byte{"an empty leaf": nil, "a leaf that is too long": make([]byte, store.MaxLeafSize+1)} {
		bad := Clone(next)
		bad.Leaves[1].Data = leaf
		if err := s.Commit(context.Background(), bad); err == nil || errors.Is(err, store.ErrLost) {
			t.Fatalf("%s: got error %v", name, err)
		}
		check(t, m, s)
	}
	entries := NewSource(8).Next(3)
	entries.From = next.From
	if err := s.Commit(context.Background(), entries); err == nil || errors.Is(err, store.ErrLost) {
		t.Fatalf("entries of streams: got error %v", err)
	}
	check(t, m, s)
	commit(t, s, next)
	m.Commit(next)
	check(t, m, s)
	closeStore(t, s)
}
