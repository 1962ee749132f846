package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A batch is a commit on its way from the queue to the published state. The
// sequencer fills it and hands it to the committer.
type batch struct {
	groups []*group
	commit *store.Commit // without entries if all were recorded before
	spools []*Spool      // of the commit's large payloads
	speculation
	size  uint64 // of the log after it
	root  entry.Hash
	time  uint64 // of the last entry, Unix milliseconds
	edges []edge
	grown []grownStream
	took  time.Duration // of its places and its commit
	// followed is set if other servers committed its entries: it is published
	// and not committed.
	followed bool
	err      error // of the groups, instead of a commit
}

// A grownStream is a stream with new entries.
type grownStream struct {
	id         entry.Hash
	rules      Rules  // after the batch
	changed    bool   // the batch changes the rules
	configured uint64 // see Configured; 0 if the batch has no config entry
}

// placedAhead is the number of entries that are placed at once while the
// committer is busy. Fewer would cost more in switches between goroutines than
// hashing them early saves.
const placedAhead = 256

// sequence is the sequencer. While the committer is busy, it places groups
// ahead in the open batch. When the committer is free, it completes the batch
// from the queue and hands it over.
func (l *Ledger) sequence() {
	defer close(l.commits)
	var open *batch
	for {
		open = l.placeAhead(open)
		var ended bool
		if open, ended = l.gather(open); ended {
			return
		}
		if open != nil {
			l.commits <- open
			open = nil
		}
	}
}

// placeAhead places groups until the committer is free.
func (l *Ledger) placeAhead(open *batch) *batch {
	plenty := l.queue.plenty
	for {
		select {
		case <-l.free:
			return open
		case lost := <-l.lost:
			open = l.redo(lost, open)
		case <-plenty:
			groups, _ := l.queue.take(placedAhead)
			if len(groups) == 0 { // the batch is full, or streams wait
				plenty = nil
			} else {
				open = l.place(open, groups)
			}
		}
	}
}

// gather completes the open batch from the queue, for the committer, which
// is free. If nothing is queued, it waits. It returns no batch if it has passed
// on commits of other servers instead, and reports whether the log has ended.
func (l *Ledger) gather(open *batch) (_ *batch, ended bool) {
	for {
		most := l.most(open)
		if most > 0 && l.queue.len() > 0 {
			// On a busy machine, runnable callers add their groups first, which
			// makes fewer and larger commits. On an idle one this costs
			// nothing.
			runtime.Gosched()
			most = l.most(open)
		}
		groups, wait := l.queue.take(most)
		if len(groups) > 0 {
			open = l.place(open, groups)
		}
		if open != nil {
			if !l.queue.seal(open.groups) {
				// The others are sealed, so this happens once per batch.
				open = l.again(l.takeBack(open, open.commit.From))
			}
			if open == nil {
				continue
			}
			l.complete(open)
			return open, false
		}
		if len(groups) > 0 {
			signal(l.queue.filled) // they were refused, and there may be more
		}
		if l.queue.ended() {
			return nil, true
		}
		var turn <-chan time.Time
		if wait > 0 {
			turn = time.After(wait)
		}
		select {
		case <-l.queue.filled:
		case <-turn:
		case <-l.follow:
			l.publishFollowed(false)
			return nil, false
		}
	}
}

// slowCommit is the duration of a commit during which it pays to prepare
// another one.
const slowCommit = 2 * time.Millisecond

// most returns how many entries the open batch may still take. If commits are
// slow, it takes half of what there is, and at least placedAhead. Callers that
// wait for their receipts would otherwise all be in one batch, and while it is
// committed, nothing is left to be prepared.
func (l *Ledger) most(open *batch) int {
	if l.commitTook.Load() < int64(slowCommit) {
		return math.MaxInt
	}
	taken := 0
	if open != nil {
		taken = open.commit.Len()
	}
	return max(placedAhead, l.queue.len()/2) - taken
}

// complete adds what can be computed only when all entries are placed.
func (l *Ledger) complete(b *batch) {
	t := l.tip.tree
	b.size, b.time = t.size, l.tip.time
	l.tip.lastEntries, l.tip.lastTerms = b.commit.Len(), len(b.commit.Postings)
	if b.commit.Len() == 0 && !b.followed {
		return
	}
	rand.Read(b.commit.ID[:]) // never fails: see crypto/rand
	b.root, b.edges = t.root(), t.snapshot()
	b.commit.Root, b.commit.Tiles = b.root, t.takeFull()
	for i := range b.heads {
		before := &b.heads[i]
		h := l.tip.heads[before.StreamID]
		b.commit.Heads = append(b.commit.Heads, h.StreamHead)
		g := grownStream{id: h.StreamID, rules: h.version(), changed: h.ruled > before.ruled}
		if h.configured > before.configured {
			g.configured = h.configured
		}
		b.grown = append(b.grown, g)
	}
}

// place gives the groups' entries their places in the open batch, which it
// begins if there is none. Groups that can't be recorded now are answered.
func (l *Ledger) place(b *batch, groups []*group) *batch {
	begun := time.Now()
	now, err := l.clock.next(l.tip.time)
	if err == nil {
		err = l.checkSpace()
	}
	if err != nil {
		l.queue.refuse(groups)
		l.finish(groups, nil, err)
		return b
	}
	if b == nil {
		b = l.newBatch()
	}
	b.groups = append(b.groups, groups...)
	for _, g := range groups {
		l.placeGroup(b, g, now)
	}
	b.took += time.Since(begun)
	return b
}

// newBatch returns an empty batch with room for as much as the last one had.
func (l *Ledger) newBatch() *batch {
	entries, terms := l.tip.lastEntries, l.tip.lastTerms
	from := l.tip.tree.size
	l.tip.recent.startBatch(from)
	return &batch{
		speculation: l.tip.speculate(),
		commit: &store.Commit{From: from, Entries: make([]store.Entry, 0, entries),
			Keys: make([]store.KeyAt, 0, entries), Postings: make([]store.PostingAt, 0, terms)},
	}
}

// placeGroup places the group's entries that are not duplicates, or refuses the
// group as a whole.
func (l *Ledger) placeGroup(b *batch, g *group, now uint64) {
	if g.refused = l.checkRules(g); g.refused == nil {
		g.refused = l.searchStore(g)
	}
	if g.refused != nil {
		return
	}
	for i := range g.entries {
		p := &g.entries[i]
		l.resolve(p, b.commit.Erase)
		switch {
		case p.existing:
		case l.raw:
			l.placeLeaf(b.commit, p, now)
		default:
			l.placeEntry(b, p, now)
		}
	}
}

// searchStore looks in the store for entries with the keys of those that have
// waited for so long that the recent keys do not go back to their last look-up.
// All such entries are published by now.
func (l *Ledger) searchStore(g *group) error {
	for i := range g.entries {
		p := &g.entries[i]
		if p.existing || p.checked >= l.tip.recent.from {
			continue
		}
		p.inStore = false
		if !l.keys.mayHave(p.key) {
			continue
		}
		index, err := l.store.Lookup(context.Background(), p.key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("look for a duplicate: %w", err)
		}
		// An entry of another server that is not followed yet has the place of
		// this batch, which will be lost.
		p.stored, p.inStore = index, err == nil && index < l.tip.tree.size
	}
	return nil
}

// resolve looks for an entry with the same key: in this batch, in recent ones,
// and in what searchStore has found. It ignores entries that this batch erases.
func (l *Ledger) resolve(p *pending, erasing []store.Erasure) {
	if p.existing {
		return
	}
	index, found := l.tip.recent.find(p.key)
	if !found && p.inStore {
		index, found = p.stored, true
	}
	if found && !slices.ContainsFunc(erasing, func(e store.Erasure) bool { return e.Index == index }) {
		p.index, p.existing = index, true
	}
}

// placeEntry appends the entry to its stream and to the log.
func (l *Ledger) placeEntry(b *batch, p *pending, now uint64) {
	c, h := b.commit, l.tip.head(p.draft.Stream)
	b.touch(h)
	p.index = c.From + uint64(c.Len())
	p.skeleton = entry.Skeleton{
		Tag: h.tag.tag(h.Next), LinkSalt: p.draft.LinkSalt, StreamID: h.StreamID, Seq: h.Next, Prev: h.Last, Time: now, HeaderHash: p.headerHash,
	}
	leaf := p.skeleton.LeafHash(l.origin)
	h.Next++
	h.Last = leaf
	l.govern(h, p.draft.Header, p.index)
	l.tip.append(leaf, now)
	e := store.Entry{Skeleton: p.skeleton, Header: p.draft.Opening, Payload: p.draft.Payload}
	if p.draft.Large != nil {
		e.Large = &p.draft.Large.finished
		b.spools = append(b.spools, p.draft.Large)
	}
	c.Entries = append(c.Entries, e)
	if p.draft.Erase != nil {
		c.Erase = append(c.Erase, p.draft.Erase.erase)
		for _, k := range p.draft.Erase.erase.Keys {
			if l.tip.recent.remove(k, p.draft.Erase.Index) {
				b.forgot = append(b.forgot, store.KeyAt{Key: k, Index: p.draft.Erase.Index})
			}
		}
	}
	l.fileKey(c, p)
	if p.facts != nil {
		c.Facts = append(c.Facts, store.FactsAt{Index: p.index, Facts: p.facts})
	}
	for _, t := range p.terms {
		c.Postings = append(c.Postings, store.PostingAt{Term: t, Index: p.index})
	}
}

// fileKey files the entry under its deduplication key.
func (l *Ledger) fileKey(c *store.Commit, p *pending) {
	l.tip.recent.add(p.key, p.index)
	l.keys.add(p.key)
	c.Keys = append(c.Keys, store.KeyAt{Key: p.key, Index: p.index})
}

// redo follows the log after a lost commit, and places its groups and those of
// the open batch again.
func (l *Ledger) redo(lost, open *batch) *batch {
	var ahead []*group
	if open != nil {
		ahead = l.takeBack(open, lost.commit.From)
	}
	l.queue.reopen(lost.groups)
	groups := append(l.takeBack(lost, lost.commit.From), ahead...)
	<-l.free // the committer has nothing else to do
	l.publishFollowed(true)
	return l.again(groups)
}

// takeBack takes the newest batch out of the tip, and returns its groups but
// those that their callers have removed. What was placed from index from on is
// void, so duplicates of it are none.
func (l *Ledger) takeBack(b *batch, from uint64) []*group {
	l.tip.revert(b)
	groups := l.queue.stay(b.groups)
	for _, g := range groups {
		for i := range g.entries {
			if p := &g.entries[i]; p.existing && p.index >= from {
				p.existing = false
			}
		}
	}
	return groups
}

// followEvery follows other servers at intervals: it asks the sequencer for
// their commits, and adopts their witnessed checkpoints. It ends with the
// committer.
func (l *Ledger) followEvery(interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			signal(l.follow)
			if l.cfg.Quorum != nil {
				l.followWitnessed()
			}
		case <-l.done:
			return
		}
	}
}

// publishFollowed applies commits of other servers to the tip, and gives them
// to the committer, which waits for a batch, to be published. A ledger that has
// failed no longer asks its store, and one that is closed stops asking a store
// that does not answer, unless groups wait for it.
func (l *Ledger) publishFollowed(awaited bool) {
	b := &batch{speculation: l.tip.speculate(), commit: &store.Commit{From: l.tip.tree.size}, followed: true}
	if l.failure.Load() != nil {
		l.commits <- b
		return
	}
	needless := func() bool { return !awaited && l.queue.ended() }
	passes := func(err error) bool { return !errors.Is(err, ErrDamaged) && !needless() }
	err := l.askAgain("return the commits of other servers", passes, func(ctx context.Context) error { return l.followOthers(ctx, b) })
	if err != nil && (errors.Is(err, ErrDamaged) || !needless()) {
		b.err = fmt.Errorf("follow the commits of other servers: %w", err)
	}
	l.commits <- b
}

// again places groups once more.
func (l *Ledger) again(groups []*group) *batch {
	if len(groups) == 0 {
		return nil
	}
	return l.place(nil, groups)
}
