package pebblestore

import (
	"context"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// What a commit sorts in is kept for the next one. It must not keep the terms,
// which are hashes of facts that can be guessed: the entry may be erased.
func TestScratchIsCleared(t *testing.T) {
	s := mustOpen(t, memFS())
	defer mustClose(t, s)
	err := s.Commit(context.Background(), &store.Commit{
		Root:     entry.Hash{1},
		Entries:  []store.Entry{{Skeleton: entry.Skeleton{StreamID: entry.Hash{2}}}},
		Heads:    []store.StreamHead{{StreamID: entry.Hash{2}, Next: 1}},
		Postings: []store.PostingAt{{Term: store.Term{7}}, {Term: store.Term{3}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range s.postings[:cap(s.postings)] {
		if p != (store.PostingAt{}) {
			t.Errorf("posting %d is still there: %+v", i, p)
		}
	}
}
