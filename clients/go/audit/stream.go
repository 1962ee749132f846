package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"

	"muniment.dev/muniment/ledger/receipt"
)

// A tracker finds the leaves of one stream among those that the scan passes to it in order.
//
// It has a table of the tags of all entries of the stream that there may be: those found already, because a tag that comes up again is
// a fork, those in gaps, and a window beyond. The window moves on with what is found.
type tracker struct {
	StreamState
	mac       hash.Hash // of the stream's key, so that it is set up once
	lookahead uint64

	// tags maps the first half of a tag, to save memory, to what is known of the entry.
	tags map[tagPrefix]entry
	upTo uint64 // the tags below it are in the table

	oldTag bool // an entry that an earlier run had found was found again
}

type tagPrefix [16]byte

type entry struct {
	seq   uint64
	index uint64 // or one of the following
}

const (
	notFound     = ^uint64(0)
	foundEarlier = notFound - 1 // by an earlier run, which did not keep the index
)

// newTracker goes on from the stream of base, if there is one.
func newTracker(key *receipt.StreamKey, lookahead uint64, base *State) *tracker {
	t := &tracker{StreamState: StreamState{ID: key.StreamID()}, mac: hmac.New(sha256.New, key[:]), lookahead: lookahead, tags: map[tagPrefix]entry{}}
	if base != nil {
		t.StreamState = *base.Stream
		t.Missing = slices.Clone(t.Missing) // base stays as it is
		t.Doubled = slices.Clone(t.Doubled)
		t.OutOfOrder = slices.Clone(t.OutOfOrder)
	}
	t.extend()
	return t
}

// tag is receipt.StreamKey.Tag.
func (t *tracker) tag(seq uint64) (tag receipt.Hash) {
	const prefix = "muniment/tag/v1\n"
	t.mac.Reset()
	t.mac.Write(binary.BigEndian.AppendUint64(append(make([]byte, 0, len(prefix)+8), prefix...), seq))
	t.mac.Sum(tag[:0])
	return tag
}

// extend fills the table as far as the window goes.
func (t *tracker) extend() {
	for ; t.upTo < t.Next+t.lookahead; t.upTo++ {
		e := entry{seq: t.upTo, index: notFound}
		if t.upTo < t.Next { // only when the tracker is made: later the table is always ahead of Next
			if _, missing := t.gap(t.upTo); !missing {
				e.index = foundEarlier
			}
		}
		tag := t.tag(t.upTo)
		t.tags[tagPrefix(tag[:16])] = e
	}
}

// leaf takes in the next leaf of the log.
func (t *tracker) leaf(index uint64, data []byte) {
	tag := data[1 : 1+receipt.HashSize]
	e, ok := t.tags[tagPrefix(tag)]
	if !ok {
		return
	}
	if full := t.tag(e.seq); !bytes.Equal(tag, full[:]) {
		return
	}
	switch e.index {
	case notFound:
		t.found(e.seq, index, data)
		t.tags[tagPrefix(tag)] = entry{e.seq, index}
	case foundEarlier:
		t.oldTag = true
	default:
		t.Doubled = appendFinding(t.Doubled, &t.DoubledTotal, Doubled{Seq: e.seq, First: e.index, Second: index})
	}
}

// found notes that an entry is there that was not seen before.
func (t *tracker) found(seq, index uint64, data []byte) {
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
	t.Next, t.LastIndex, t.LastLeaf = seq+1, index, receipt.LeafHash(data)
	t.extend()
}

func appendFinding[T any](list []T, total *uint64, f T) []T {
	if *total++; len(list) < MaxFindings {
		list = append(list, f)
	}
	return list
}
