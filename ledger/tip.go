package ledger

import (
	"context"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A tip is the end of the log after everything that was placed, whether its
// commit is won or not. It belongs to the sequencer.
type tip struct {
	tree    *tree
	time    uint64 // of the last entry, Unix milliseconds
	heads   map[entry.Hash]*head
	recent  recentKeys
	batches uint64 // begun
	// of the last batch
	lastEntries, lastTerms int
}

// A head is the end of a stream.
type head struct {
	store.StreamHead
	tag   *tagger
	ruled uint64 // index of the newest change of its rules since the log was opened, plus 1
	// index of the newest config entry since the log was opened, plus 1
	configured uint64
	batch      uint64 // number of the newest one that has an entry of the stream
}

// A speculation is what must be restored to take a batch back.
type speculation struct {
	number     uint64 // of the batch, from 1
	timeBefore uint64
	before     []edge
	heads      []head // of the streams with entries in the batch, as they were before
	// recent keys that erasures in the batch removed
	forgot []store.KeyAt
}

func newTip(t *tree, st *store.State, streams []store.StreamHead) tip {
	tp := tip{tree: t, time: st.Time, heads: make(map[entry.Hash]*head, len(streams))}
	tp.recent.init(st.Size)
	for _, h := range streams {
		tp.heads[h.StreamID] = &head{StreamHead: h}
	}
	return tp
}

// append adds a leaf.
func (tp *tip) append(leaf entry.Hash, time uint64) {
	tp.tree.append(leaf)
	tp.time = time
}

// head returns the end of the stream.
func (tp *tip) head(s *Stream) *head {
	h := tp.headOf(s.ID)
	if h.tag == nil {
		h.tag = newTagger(&s.Key)
	}
	return h
}

func (tp *tip) headOf(stream entry.Hash) *head {
	h := tp.heads[stream]
	if h == nil {
		h = &head{StreamHead: store.StreamHead{StreamID: stream}}
		tp.heads[stream] = h
	}
	return h
}

// speculate begins a batch, and returns the present state.
func (tp *tip) speculate() speculation {
	tp.batches++
	return speculation{number: tp.batches, timeBefore: tp.time, before: tp.tree.snapshot()}
}

// touch keeps the head as it is before its first entry in the batch.
func (b *batch) touch(h *head) {
	if h.batch != b.number {
		b.heads = append(b.heads, *h)
		h.batch = b.number
	}
}

// revert takes back the newest batch.
func (tp *tip) revert(b *batch) {
	tp.tree.size, tp.tree.edges, tp.tree.full = b.commit.From, b.before, nil
	tp.time = b.timeBefore
	for _, h := range b.heads {
		now := tp.heads[h.StreamID]
		now.StreamHead, now.ruled, now.configured, now.batch = h.StreamHead, h.ruled, h.configured, h.batch
	}
	for _, k := range b.commit.Keys {
		tp.recent.remove(k.Key, k.Index)
	}
	for _, k := range b.forgot {
		tp.recent.add(k.Key, k.Index)
	}
}

// followOthers applies the commits of other servers to the tip and the batch.
// After an error it can be called again, and continues.
func (l *Ledger) followOthers(ctx context.Context, b *batch) error {
	st, err := l.store.Follow(ctx, l.tip.tree.size)
	if err != nil || st.Size == b.commit.From {
		return err
	}
	l.known.forgetAll() // they can have erased some
	for from := l.tip.tree.size; from < st.Size; from = l.tip.tree.size {
		if err := l.followTo(ctx, b, from, min(from+store.TileWidth, st.Size), st.Time); err != nil {
			return err
		}
	}
	if root := l.tip.tree.root(); root != st.Root {
		return wrongRoot(root, st.Root)
	}
	l.keys.followed.Add(1)
	l.tip.recent.init(st.Size)
	l.complete(b)
	return nil
}

// followTo applies the entries from ≤ index < to.
func (l *Ledger) followTo(ctx context.Context, b *batch, from, to, last uint64) error {
	if l.raw {
		leaves, err := l.store.Leaves(ctx, from, to)
		if err != nil {
			return fmt.Errorf("entries %d to %d: %w", from, to, err)
		}
		for _, data := range leaves {
			l.tip.append(entry.LeafHash(data), last)
		}
		return nil
	}
	skeletons, err := l.store.Skeletons(ctx, from, to)
	if err != nil {
		return fmt.Errorf("entries %d to %d: %w", from, to, err)
	}
	headers, err := store.Headers(ctx, l.store, from, to)
	if err != nil {
		return fmt.Errorf("headers of the entries %d to %d: %w", from, to, notThere(err))
	}
	for i := range skeletons {
		sk := &skeletons[i]
		h := l.tip.headOf(sk.StreamID)
		leaf := sk.LeafHash(l.origin)
		b.touch(h)
		switch {
		case sk.Seq < h.Next: // read with the heads when the log was opened
		case sk.Seq == h.Next && sk.Prev == h.Last:
			h.Next, h.Last = sk.Seq+1, leaf
		default:
			return fmt.Errorf("entry %d: %w: it does not follow its stream's last entry", from+uint64(i), ErrDamaged)
		}
		if err := l.governStored(h, from+uint64(i), headers[i]); err != nil {
			return err
		}
		l.tip.append(leaf, sk.Time)
	}
	return nil
}
