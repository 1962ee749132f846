package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// commit is the committer: it makes the sequencer's batches durable, one after
// the other, and publishes them. It reports that it is free before it takes a
// batch, so the sequencer completes a batch at the last moment.
func (l *Ledger) commit() {
	defer close(l.done)
	for {
		l.free <- struct{}{}
		b, ok := <-l.commits
		if !ok {
			return
		}
		pub, err := l.settle(b)
		if errors.Is(err, store.ErrLost) {
			l.lost <- b
			continue
		}
		l.queue.committed(b.groups, b.took)
		l.finish(b.groups, pub, err)
	}
}

// finish answers the groups.
func (l *Ledger) finish(groups []*group, pub *Published, err error) {
	for _, g := range groups {
		g.published, g.err = pub, err
		if err == nil {
			g.err = g.refused
		}
		close(g.done)
	}
}

// settle commits and publishes a batch. With store.ErrLost, another server was
// first. After any other error, the ledger has failed, and nothing of the batch
// is known to be recorded.
func (l *Ledger) settle(b *batch) (*Published, error) {
	if f := l.failure.Load(); f != nil {
		return nil, *f
	}
	c := b.commit
	switch {
	case b.err != nil:
		l.fail(b.err)
		return nil, ErrFailed
	case b.followed && b.edges == nil, !b.followed && c.Len() == 0: // all duplicates
		b.took = 0
		return l.published.Load(), nil
	}
	start := time.Now()
	if !b.followed {
		c.Checkpoint = l.written
		if err := l.decide(b); errors.Is(err, store.ErrLost) {
			return nil, err
		} else if err != nil {
			l.fail(fmt.Errorf("commit entries %d to %d: %w", c.From, c.From+uint64(c.Len())-1, err))
			return nil, ErrFailed
		}
	}
	committed := time.Now()
	if !b.followed {
		l.commitTook.Store(int64(committed.Sub(start)))
	}
	if len(c.Erase) > 0 {
		l.known.forget(c.Erase)
		signal(l.purge)
	}
	for i := range c.Tiles {
		l.tiles.put(&c.Tiles[i])
	}
	pub, err := l.publish(b)
	if err != nil {
		l.fail(err)
		return nil, ErrFailed
	}
	b.took += time.Since(start)
	l.observeRecorded(b.groups)
	if l.cfg.Observe.Committed != nil && !b.followed {
		l.cfg.Observe.Committed(c.Len(), committed.Sub(start), time.Since(committed))
	}
	return pub, nil
}

// decide proposes the batch's commit until it is decided, and gives up after
// Config.MaxUndecided. The error is store.ErrLost if it is lost.
func (l *Ledger) decide(b *batch) error {
	begun := time.Now()
	l.deciding.Store(&begun)
	defer l.deciding.Store(nil)
	b.propose(true)
	undecided := func(err error) bool { return errors.Is(err, store.ErrUndecided) }
	err := l.askAgain("decide a commit", undecided, func(ctx context.Context) error { return l.store.Commit(ctx, b.commit) })
	if errors.Is(err, store.ErrLost) {
		b.propose(false)
	}
	return err
}

// Hanging returns how long the present commit has been under way. It is zero
// without one.
func (l *Ledger) Hanging() time.Duration {
	begun := l.deciding.Load()
	if begun == nil {
		return 0
	}
	return time.Since(*begun)
}

// propose records whether the batch's commit can be won. Until it is known to
// be lost, its large payloads are kept.
func (b *batch) propose(proposed bool) {
	for _, s := range b.spools {
		s.proposed = proposed
	}
}

const (
	firstAsk = time.Millisecond // the wait before the store is asked again
	lastAsk  = 100 * time.Millisecond
)

// askAgain asks the store until the error is nil or is not one that passes. It
// gives up after Config.MaxUndecided.
func (l *Ledger) askAgain(what string, passes func(error) bool, ask func(context.Context) error) error {
	return repeat(l.cfg.MaxUndecided, passes, func() error { return l.askOnce(ask) }, func(err error) {
		l.log.Warn("the store could not "+what+"; asking again", "err", err)
	})
}

// repeat asks a store until the error is nil or is not one that passes, and
// gives up after a time. It calls first before it asks again for the first
// time.
func repeat(most time.Duration, passes func(error) bool, ask func() error, first func(error)) error {
	end := time.Now().Add(most)
	for wait := firstAsk; ; wait = min(2*wait, lastAsk) {
		err := ask()
		if err == nil || !passes(err) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("given up after %s: %w", most, err)
		}
		if wait == firstAsk {
			first(err)
		}
		time.Sleep(wait)
	}
}

// askOnce asks the store. A shared one that does not answer, such as a database
// whose machine is gone, is asked again on another connection.
func (l *Ledger) askOnce(ask func(context.Context) error) error {
	ctx := context.Background()
	if l.Shared() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.cfg.MaxUndecided/3)
		defer cancel()
	}
	return ask(ctx)
}

// publish signs the tree after the batch, which must be durable, marks it and
// makes it the published state.
func (l *Ledger) publish(b *batch) (*Published, error) {
	cp := receipt.Checkpoint{Origin: l.cfg.Signer.Name(), Size: b.size, Root: b.root}
	signed, err := cp.Sign(append([]note.Signer{l.cfg.Signer}, l.cfg.Overlap...)...)
	if err != nil {
		return nil, fmt.Errorf("sign the checkpoint of size %d: %w", cp.Size, err)
	}
	if err := l.store.Mark(&store.Checkpoint{Size: cp.Size, Signed: signed}); err != nil {
		return nil, fmt.Errorf("mark the checkpoint of size %d as published: %w", cp.Size, err)
	}
	p := &Published{Size: cp.Size, Root: b.root, Time: b.time, Checkpoint: signed, Superseded: make(chan struct{}), edges: b.edges, tiles: l.tiles, tail: receipt.NewProofTail(signed)}
	for _, g := range b.grown { // before waiters for the new state wake up
		l.grown.Store(g.id, p.Size)
		if g.configured > 0 {
			l.configured.Store(g.id, g.configured)
		}
	}
	old := l.published.Swap(p)
	for _, g := range b.grown { // after all that a version contains can be read
		if g.changed {
			l.rules.Store(g.id, g.rules)
		}
	}
	if cp.Size > 0 {
		l.written = &store.Checkpoint{Size: cp.Size, Signed: signed}
	}
	if old != nil {
		close(old.Superseded)
	}
	return p, nil
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
			if p := &g.entries[i]; !p.existing && g.refused == nil {
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
