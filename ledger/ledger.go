// Package ledger sequences entries into an append-only Merkle log and serves
// its published state.
//
// It handles streams, headers and payloads. Tenants, tokens and formats of
// evidence belong to packages api and ingest.
//
// # The write path
//
// This file follows an entry from the caller to the published state:
//
//	Append      in the caller's goroutine: hash the header, look for the same
//	            submission, join the queue
//	queue       bounded, fair between streams
//	sequence    in the one sequencer goroutine: take what is queued, assign
//	            seq, prev and time, hash, extend the tree
//	Commit      one atomic, durable commit of the store, with the unsigned tree head
//	sign        the checkpoint of the new tree
//	mark        record the checkpoint in the store, so that the store never
//	            opens again without it
//	publish     swap the published state in memory
//	wake        the callers, which make their receipts in parallel
//
// A batch is everything that was queued during the previous commit. There is no
// timer.
//
// # The published state
//
// Commit, then sign, then mark, then publish. Every read goes through one
// [Published] and never past it, because a store may show a commit to readers
// before it is durable: a proof about such a state could contradict the log
// after a crash.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A Stream is a tenant's chain of entries.
type Stream struct {
	Key entry.StreamKey
	ID  entry.Hash
}

// NewStream returns the stream of the key.
func NewStream(key entry.StreamKey) *Stream { return &Stream{Key: key, ID: key.StreamID()} }

// A Draft is an entry without its place in the log.
type Draft struct {
	Stream   *Stream
	LinkSalt entry.Salt
	Header   *entry.Header         // parsed from Opening.Content
	Opening  receipt.HeaderOpening // header bytes and their salt
	Payload  receipt.PayloadOpening
	// finished, and holds the payload's content, which Payload then lacks; nil
	// if it is not large
	Large *Spool
	Erase *Erasure // erasure of an earlier entry of the stream, recorded by this entry; may be nil
	// Refused is why the caller refuses the draft, and becomes the error of its
	// result. The other fields are then not set. Nil: record the draft.
	Refused error
}

// A Result is the outcome of a draft.
type Result struct {
	Index     uint64
	Duplicate bool   // recorded before; Index and Receipt are the first entry's
	Receipt   []byte // JSON, in the form detached
	// ErrKeyReused if nothing was recorded. Other errors concern only the
	// receipt, which can be requested later.
	Err error
}

// Append records the drafts in order, in one batch, and returns when they are
// durable and published. The results are in the same order. The error concerns
// all drafts. It is one of this package's sentinels, or the context's error, in
// which case nothing was recorded. Repeating a call is harmless.
func (l *Ledger) Append(ctx context.Context, drafts []Draft) ([]Result, error) {
	g, err := l.appendGroup(ctx, drafts)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // recorded entries are always answered
	results, next := make([]Result, len(drafts)), 0
	for i := range results {
		if results[i].Err = drafts[i].Refused; results[i].Err != nil {
			continue
		}
		l.answer(ctx, g, next, &results[i])
		next++
	}
	return results, nil
}

// appendGroup records the drafts that are not refused, as one group.
func (l *Ledger) appendGroup(ctx context.Context, drafts []Draft) (*group, error) {
	accepted := make([]*Draft, 0, len(drafts))
	for i := range drafts {
		if drafts[i].Refused == nil {
			accepted = append(accepted, &drafts[i])
		}
	}
	g := newGroup(len(accepted))
	if len(accepted) == 0 && len(drafts) > 0 {
		return g, nil
	}
	if err := l.mayAppend(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(accepted, func(d *Draft) bool { return d.Large != nil }) {
		// Its owner discards it when Append returns, which must not happen
		// while it waits to be committed.
		ctx = context.WithoutCancel(ctx)
	}
	if err := l.prepare(ctx, g, accepted); err != nil {
		return nil, err
	}
	return g, l.record(ctx, g)
}

// mayAppend returns the reason if the log accepts no drafts at all.
func (l *Ledger) mayAppend() error {
	if f := l.failure.Load(); f != nil {
		return *f
	}
	if l.replica {
		return ErrReplica
	}
	if l.raw {
		return errRaw
	}
	if l.readOnly {
		return l.held()
	}
	return nil
}

// record returns when all of the group's entries are published, duplicates
// included.
func (l *Ledger) record(ctx context.Context, g *group) error {
	fresh := 0
	for i := range g.entries {
		p := &g.entries[i]
		if err := l.lookup(ctx, p); err != nil {
			return err
		}
		if !p.existing {
			fresh++
			g.bytes += p.size()
			g.rows += len(p.terms) + 1
		}
	}
	if fresh == 0 { // duplicates are answered even when appends are refused
		g.published = l.published.Load()
	} else if err := l.held(); err != nil {
		l.observeRefused(err, fresh)
		return err
	} else if err := l.await(ctx, g); err != nil {
		l.observeRefused(err, fresh)
		return err
	}
	return nil
}

func (l *Ledger) observeRefused(err error, n int) {
	if l.cfg.Observe.Refused != nil {
		for range n {
			l.cfg.Observe.Refused(err)
		}
	}
}

// lookup looks for the same submission among the published entries. The
// sequencer then needs to check only later ones.
func (l *Ledger) lookup(ctx context.Context, p *pending) error {
	pub := l.published.Load()
	if !l.keys.mayHave(p.key) {
		p.checked = pub.Size // the filter has the keys of all published entries
		return nil
	}
	index, err := l.store.Lookup(ctx, p.key)
	switch {
	case err == nil && index < pub.Size:
		p.existing, p.index = true, index
	case err == nil || errors.Is(err, store.ErrNotFound):
		p.checked = pub.Size // a larger index may come from a commit that is not durable yet
	default:
		return fmt.Errorf("look for a duplicate: %w", err)
	}
	return nil
}

// await puts the group into the queue and waits until it is published.
func (l *Ledger) await(ctx context.Context, g *group) error {
	if err := l.queue.put(g); err != nil {
		return err
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
	}
	// The caller must learn whether the group is recorded. Once it is in a
	// batch, wait for the result.
	if l.queue.remove(g) {
		return fmt.Errorf("wait for the commit: %w; nothing was recorded", ctx.Err())
	}
	<-g.done
	return g.err
}

// run is the sequencer.
func (l *Ledger) run() {
	defer close(l.done)
	for {
		groups := l.queue.take()
		if groups == nil {
			return
		}
		begun := time.Now()
		pub, err := l.sequence(groups)
		l.queue.committed(groups, time.Since(begun))
		for _, g := range groups {
			g.published, g.err = pub, err
			close(g.done)
		}
	}
}

// sequence assigns the groups' entries their places, commits them and publishes
// the result. After an error, either nothing was recorded or the ledger has
// failed.
func (l *Ledger) sequence(groups []*group) (*Published, error) {
	if f := l.failure.Load(); f != nil {
		return nil, *f
	}
	if err := l.checkSpace(); err != nil {
		return nil, err
	}
	prev := l.published.Load()
	now, err := l.clock.next(prev.Time)
	if err != nil {
		return nil, err
	}
	c := newCommit(prev.Size, l.written, groups)
	touched, err := l.placeAll(c, groups, now)
	if err != nil {
		l.fail(fmt.Errorf("look for a duplicate: %w", err))
		return nil, ErrFailed
	}
	if c.Len() == 0 {
		return prev, nil
	}
	start := time.Now()
	if err := l.store.Commit(context.Background(), c); err != nil {
		l.fail(fmt.Errorf("commit entries %d to %d: %w", c.From, c.From+uint64(c.Len())-1, err))
		return nil, ErrFailed
	}
	committed := time.Now()
	if len(c.Erase) > 0 {
		select {
		case l.purge <- struct{}{}:
		default: // a signal is pending
		}
	}
	pub, err := l.publish(c.Root, now, touched...)
	if err != nil {
		l.fail(err)
		return nil, ErrFailed
	}
	l.observeRecorded(groups)
	if l.cfg.Observe.Committed != nil {
		l.cfg.Observe.Committed(c.Len(), committed.Sub(start), time.Since(committed))
	}
	return pub, nil
}

// placeAll fills the commit with the groups' entries that are not duplicates,
// and returns the heads of their streams.
func (l *Ledger) placeAll(c *store.Commit, groups []*group, now uint64) ([]*head, error) {
	l.recent.startBatch(c.From)
	var touched []*head
	for _, g := range groups {
		for i := range g.entries {
			p := &g.entries[i]
			if err := l.resolve(p, c.Erase); err != nil {
				return nil, err
			}
			if p.existing {
				continue
			}
			if l.raw {
				l.placeLeaf(c, p, now)
				continue
			}
			h := l.head(p.draft.Stream)
			if !h.dirty {
				h.dirty = true
				touched = append(touched, h)
			}
			l.place(c, p, h, now)
		}
	}
	if c.Len() == 0 {
		return nil, nil
	}
	for _, h := range touched {
		h.dirty = false
		c.Heads = append(c.Heads, h.StreamHead)
	}
	c.Tiles, c.Root = l.tree.takeFull(), l.tree.root()
	return touched, nil
}

// observeRecorded reports the new entries of the groups.
func (l *Ledger) observeRecorded(groups []*group) {
	if l.cfg.Observe.Recorded == nil || l.raw {
		return
	}
	type sum struct {
		entries int
		bytes   int64
	}
	sums := map[entry.Hash]sum{}
	for _, g := range groups {
		for i := range g.entries {
			if p := &g.entries[i]; !p.existing {
				s := sums[p.draft.Stream.ID]
				s.entries++
				s.bytes += int64(p.draft.Header.Payload.Size)
				sums[p.draft.Stream.ID] = s
			}
		}
	}
	for stream, s := range sums {
		l.cfg.Observe.Recorded(stream, s.entries, s.bytes)
	}
}

// newCommit returns an empty commit with room for the groups' entries.
func newCommit(from uint64, written *store.Checkpoint, groups []*group) *store.Commit {
	entries, terms := 0, 0
	for _, g := range groups {
		entries += len(g.entries)
		for i := range g.entries {
			terms += len(g.entries[i].terms)
		}
	}
	return &store.Commit{
		From: from, Checkpoint: written,
		Entries: make([]store.Entry, 0, entries), Keys: make([]store.KeyAt, 0, entries), Postings: make([]store.PostingAt, 0, terms),
	}
}

// resolve looks for an entry with the same key. It searches this batch and
// recent ones. If the pending entry has waited for long, it also searches the
// store, whose entries are all published by then.
//
// It ignores entries that this batch erases.
func (l *Ledger) resolve(p *pending, erasing []store.Erasure) error {
	if p.existing {
		return nil
	}
	index, found := l.recent.find(p.key)
	if !found && p.checked < l.recent.from && l.keys.mayHave(p.key) {
		var err error
		index, err = l.store.Lookup(context.Background(), p.key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		found = err == nil
	}
	if found && !slices.ContainsFunc(erasing, func(e store.Erasure) bool { return e.Index == index }) {
		p.index, p.existing = index, true
	}
	return nil
}

func (l *Ledger) head(s *Stream) *head {
	h := l.heads[s.ID]
	if h == nil {
		h = &head{StreamHead: store.StreamHead{StreamID: s.ID}}
		l.heads[s.ID] = h
	}
	if h.tag == nil {
		h.tag = newTagger(&s.Key)
	}
	return h
}

// place appends the entry to its stream and to the log.
func (l *Ledger) place(c *store.Commit, p *pending, h *head, now uint64) {
	p.index = c.From + uint64(c.Len())
	p.skeleton = entry.Skeleton{
		Tag: h.tag.tag(h.Next), LinkSalt: p.draft.LinkSalt, StreamID: h.StreamID, Seq: h.Next, Prev: h.Last, Time: now, HeaderHash: p.headerHash,
	}
	leaf := p.skeleton.LeafHash(l.origin)
	h.Next++
	h.Last = leaf
	l.tree.append(leaf)
	l.recent.add(p.key, p.index)
	l.keys.add(p.key)
	e := store.Entry{Skeleton: p.skeleton, Header: p.draft.Opening, Payload: p.draft.Payload}
	if p.draft.Large != nil {
		e.Large = &p.draft.Large.finished
	}
	c.Entries = append(c.Entries, e)
	if p.draft.Erase != nil {
		c.Erase = append(c.Erase, p.draft.Erase.erase)
		for _, k := range p.draft.Erase.erase.Keys {
			l.recent.remove(k, p.draft.Erase.Index)
		}
	}
	c.Keys = append(c.Keys, store.KeyAt{Key: p.key, Index: p.index})
	for _, t := range p.terms {
		c.Postings = append(c.Postings, store.PostingAt{Term: t, Index: p.index})
	}
}

// publish signs the current tree, which must be durable, marks it and makes it
// the published state.
func (l *Ledger) publish(root entry.Hash, time uint64, touched ...*head) (*Published, error) {
	cp := receipt.Checkpoint{Origin: l.cfg.Signer.Name(), Size: l.tree.size, Root: root}
	signed, err := cp.Sign(append([]note.Signer{l.cfg.Signer}, l.cfg.Overlap...)...)
	if err != nil {
		return nil, fmt.Errorf("sign the checkpoint of size %d: %w", cp.Size, err)
	}
	if err := l.store.Mark(&store.Checkpoint{Size: cp.Size, Signed: signed}); err != nil {
		return nil, fmt.Errorf("mark the checkpoint of size %d as published: %w", cp.Size, err)
	}
	p := &Published{Size: cp.Size, Root: root, Time: time, Checkpoint: signed, Superseded: make(chan struct{}), edges: l.tree.snapshot(), tiles: l.tiles, tail: receipt.NewProofTail(signed)}
	for _, h := range touched { // before waiters for the new state wake up
		l.grown.Store(h.StreamID, p.Size)
	}
	old := l.published.Swap(p)
	if cp.Size > 0 {
		l.written = &store.Checkpoint{Size: cp.Size, Signed: signed}
	}
	if old != nil {
		close(old.Superseded)
	}
	return p, nil
}

// answer fills in the result of entry i of a published group.
func (l *Ledger) answer(ctx context.Context, g *group, i int, r *Result) {
	p := &g.entries[i]
	r.Index, r.Duplicate = p.index, p.existing
	if p.existing {
		same, err := l.compare(ctx, p)
		switch {
		case err != nil:
			r.Err = fmt.Errorf("compare with entry %d: %w", p.index, err)
		case !same:
			r.Err = fmt.Errorf("%w, recorded as entry %d; use another key for another event", ErrKeyReused, p.index)
		default:
			r.Receipt, r.Err = l.Receipt(ctx, p.draft.Stream, p.index, ReceiptOptions{})
		}
		return
	}
	r.Receipt, r.Err = g.published.receipt(ctx, p.index, g.published.Size, &g.published.tail, &receipt.Receipt{
		Form: receipt.Detached, Tag: p.skeleton.Tag, Time: p.skeleton.Time,
		Link:    &receipt.LinkOpening{Salt: p.skeleton.LinkSalt, StreamID: p.skeleton.StreamID, Seq: p.skeleton.Seq, Prev: p.skeleton.Prev},
		Header:  &p.draft.Opening,
		Payload: &receipt.PayloadOpening{Salt: p.draft.Payload.Salt},
	})
}

func (l *Ledger) fail(err error) {
	l.log.Error("the log can't go on", "err", err)
	failure := fmt.Errorf("%w (%w)", ErrFailed, err)
	l.failure.Store(&failure)
	l.cfg.Fatal(failure)
}
