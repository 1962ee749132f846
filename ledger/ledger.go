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
//	place       in the sequencer goroutine: assign seq, prev and time, hash,
//	            extend the tree of the open batch (sequence.go, tip.go)
//	Commit      in the committer goroutine (commit.go): one atomic, durable
//	            commit of the store, with the unsigned tree head
//	sign        the checkpoint of the new tree
//	mark        record the checkpoint in the store, so that the store never
//	            opens again without it
//	publish     swap the published state in memory
//	wake        the callers, which make their receipts in parallel
//
// A batch is everything that was queued during the previous commit. It is
// hashed while that commit syncs. There is no timer.
//
// # Speculation
//
// The open batch is computed on a commit whose outcome is not known yet.
// Another server can win that commit's place. Then all that was computed on it
// is dropped, the winner's entries are followed, and the groups are placed
// again. Nothing is sent to the store before the commit that it was computed on
// is won, and nothing is signed, published or answered from a commit before it
// is won. docs/decisions/11-speculative-commits.md has the rules.
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
	// Facts are those of header and payload, as Derive returns them. Nil: none.
	Facts []byte
	// Rules are those that the draft was decided under; the zero value if under
	// none. Append returns ErrOvertaken if they are no longer in force.
	Rules Rules
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
