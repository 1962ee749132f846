package audit

import (
	"context"
	"slices"

	"muniment.dev/muniment/ledger/entry"
)

// A tracker finds the leaves of one stream among all leaves, which the scan
// passes to it in order. It has the tags of all sequence numbers below the
// tree's size, so no entry can be hidden from it.
type tracker struct {
	StreamState
	tags *entry.TagTable

	// The indexes of entries found by this run: in at for sequence numbers from
	// first on (or notFound), and in late for those in gaps of earlier runs.
	first uint64
	at    []uint64
	late  map[uint64]uint64

	oldTag bool // an entry of an earlier run was found again
}

const notFound = ^uint64(0)

// tagStep is the number of tags computed between two checks of the context.
const tagStep = 1 << 16

// newTracker returns a tracker for a tree of the given size. It continues from
// the stream of base, if any.
func newTracker(ctx context.Context, key *entry.StreamKey, size uint64, base *State) (*tracker, error) {
	t := &tracker{StreamState: StreamState{ID: key.StreamID()}, late: map[uint64]uint64{}}
	if base != nil {
		t.StreamState, t.tags = *base.Stream, base.tags
		t.Missing = slices.Clone(t.Missing) // base must not change
		t.Doubled = slices.Clone(t.Doubled)
		t.OutOfOrder = slices.Clone(t.OutOfOrder)
	}
	t.first = t.Next
	if t.tags == nil {
		t.tags = entry.NewTagTable(key)
	}
	t.tags.Reserve(size)
	for t.tags.Len() < size {
		if ctx.Err() != nil {
			return nil, unavailable(ctx, "tags of the stream", ctx.Err())
		}
		t.tags.Extend(min(t.tags.Len()+tagStep, size))
	}
	return t, nil
}

// leaf processes the next leaf of the log.
func (t *tracker) leaf(index uint64, data []byte) {
	seq, ok := t.tags.Find(entry.Hash(data[1:]))
	if !ok {
		return
	}
	switch where, earlier := t.where(seq); {
	case earlier:
		t.oldTag = true
	case where != notFound:
		t.Doubled = appendFinding(t.Doubled, &t.DoubledTotal, Doubled{Seq: seq, First: where, Second: index})
	default:
		t.found(seq, index, data)
	}
}

// where returns the index at which this run found an entry, or notFound. It
// reports whether an earlier run found the entry.
func (t *tracker) where(seq uint64) (index uint64, earlier bool) {
	if seq >= t.first {
		if i := seq - t.first; i < uint64(len(t.at)) {
			return t.at[i], false
		}
		return notFound, false
	}
	if index, ok := t.late[seq]; ok {
		return index, false
	}
	_, missing := t.gap(seq)
	return notFound, !missing
}

// found records an entry that was not seen before.
func (t *tracker) found(seq, index uint64, data []byte) {
	if seq < t.first {
		t.late[seq] = index
	} else {
		for uint64(len(t.at)) <= seq-t.first {
			t.at = append(t.at, notFound)
		}
		t.at[seq-t.first] = index
	}
	if seq < t.Next { // it was missing
		t.OutOfOrder = appendFinding(t.OutOfOrder, &t.OutOfOrderTotal, OutOfOrder{Seq: seq, Index: index, After: t.Next - 1, AfterIndex: t.LastIndex})
		i, _ := t.gap(seq)
		m := t.Missing[i]
		var left []SeqRange
		if m.First < seq {
			left = append(left, SeqRange{m.First, seq - 1})
		}
		if seq < m.Last {
			left = append(left, SeqRange{seq + 1, m.Last})
		}
		t.Missing = slices.Replace(t.Missing, i, i+1, left...)
		return
	}
	if seq > t.Next {
		t.Missing = append(t.Missing, SeqRange{t.Next, seq - 1})
	}
	t.Next, t.LastIndex, t.LastLeaf = seq+1, index, entry.LeafHash(data)
}

func appendFinding[T any](list []T, total *uint64, f T) []T {
	if *total++; len(list) < MaxFindings {
		list = append(list, f)
	}
	return list
}
