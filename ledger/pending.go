package ledger

import (
	"context"
	"fmt"

	"muniment.dev/muniment/internal/turns"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A pending entry is a draft, or a raw leaf, on its way through the queue.
type pending struct {
	draft      *Draft
	leaf       []byte // in a raw log, in place of a draft
	headerHash entry.Hash
	key        store.Key
	terms      []store.Term
	facts      []byte // the row with the draft's facts; nil: none
	checked    uint64 // no entry below this index has the key

	// Written by the sequencer before it closes the group's done.
	inStore  bool   // an entry with the key was found in the store
	stored   uint64 // its index
	existing bool
	index    uint64
	skeleton entry.Skeleton // not set if existing
}

// A group is what one call of Append waits for.
type group struct {
	entries   []pending
	order     uint64 // of arrival in the queue
	state     groupState
	bytes     int64
	rows      int   // of postings and deduplication keys
	refused   error // by the sequencer; nothing of the group is recorded
	done      chan struct{}
	published *Published // set before done is closed, if err is nil
	err       error
}

// A groupState is where a group is. The queue's mutex guards it.
type groupState uint8

const (
	groupQueued  groupState = iota
	groupOpen               // in the open batch
	groupLeft               // in the open batch, to be taken out again
	groupSettled            // in a batch that can be committed, or refused
)

func newGroup(entries int) *group {
	return &group{entries: make([]pending, entries), done: make(chan struct{})}
}

// prepare computes the hashes and index rows of the drafts, which are all of
// one stream. If they are large, this takes a turn of the tenant that the
// headers name, who is also the owner of turns in package ingest.
func (l *Ledger) prepare(ctx context.Context, g *group, drafts []*Draft) error {
	if len(drafts) == 0 {
		return nil
	}
	size := 0
	for _, d := range drafts {
		size += d.contents()
	}
	turn, err := turns.CPU.For(ctx, drafts[0].Header.Tenant, int64(size))
	if err != nil {
		return err
	}
	defer turn.End()
	for i, d := range drafts {
		if d.Large != nil {
			turn.End() // a turn is not held while a disk is read
		}
		if err := g.entries[i].prepare(l.ids, d); err != nil {
			return err
		}
		if err := turn.Pass(ctx, d.contents()); err != nil {
			return err
		}
	}
	return nil
}

// contents returns the size of the draft's header, payload and facts in memory,
// in bytes.
func (d *Draft) contents() int {
	return len(d.Opening.Content) + len(d.Payload.Content) + len(d.Facts)
}

func (p *pending) prepare(ids *identifier, d *Draft) error {
	p.draft = d
	p.headerHash = entry.HeaderHash(d.Opening.Salt, d.Opening.Content)
	p.terms = headerTerms(d.Stream.ID, d.Header)
	if d.Facts != nil {
		p.facts = sealFacts(p.headerHash, d.Facts)
	}
	if d.Large == nil {
		p.key = ids.key(d.Stream.ID, d.Header, d.Payload.Content)
		return nil
	}
	r, err := d.Large.Open()
	if err != nil {
		return fmt.Errorf("read a large payload: %w", err)
	}
	defer r.Close()
	p.key, err = ids.keyOf(d.Stream.ID, d.Header, d.Large.size, r)
	return err
}

func (p *pending) size() int64 {
	if p.draft == nil {
		return int64(len(p.leaf))
	}
	return int64(p.draft.contents())
}
