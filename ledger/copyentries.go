package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

var copyEntries = 4096 // of one commit; a variable for tests

const (
	copyBytes = 16 << 20 // of openings in one commit
	copyReads = 16       // entries that are read at the same time
)

// entries copies the entries that the copy lacks, with their checkpoints.
func (c *copier) entries(ctx context.Context) (err error) {
	if c.next, err = nextCheckpoint(ctx, c.From, c.tree.size+1); err != nil {
		return err
	}
	var p *store.Commit
	var large []store.PayloadWriter
	defer func() {
		for _, w := range large { // in no commit
			w.Discard()
		}
	}()
	bytes := 0
	for c.tree.size < c.state.Size {
		if p == nil {
			p, bytes = &store.Commit{From: c.tree.size}, 0
			rand.Read(p.ID[:]) // never fails: see crypto/rand
		}
		read, err := c.read(ctx, c.tree.size, min(c.tree.size+copyReads, c.state.Size))
		for i := range read {
			if read[i].writer != nil {
				large = append(large, read[i].writer)
			}
		}
		if err != nil {
			return err
		}
		for i := range read {
			e := &read[i].Entry
			c.tree.append(e.Skeleton.LeafHash(c.log))
			p.Entries = append(p.Entries, *e)
			bytes += len(e.Header.Content) + len(e.Payload.Content)
		}
		if c.tree.size < c.state.Size && len(p.Entries) < copyEntries && bytes < copyBytes {
			continue
		}
		if err := c.takeCheckpoints(ctx, p); err != nil {
			return err
		}
		if err := c.commit(ctx, p); err != nil {
			return err
		}
		p, large = nil, nil
		c.progress(CopyEntries, c.tree.size)
	}
	return nil
}

// takeCheckpoints adds the checkpoints of sizes that the commit leads to.
func (c *copier) takeCheckpoints(ctx context.Context, p *store.Commit) (err error) {
	for c.next != nil && c.next.Size <= c.tree.size {
		p.Older = append(p.Older, *c.next)
		if c.next, err = nextCheckpoint(ctx, c.From, c.next.Size+1); err != nil {
			return err
		}
	}
	return nil
}

// nextCheckpoint returns the first checkpoint of at least a size, or nil.
func nextCheckpoint(ctx context.Context, s store.Log, size uint64) (*store.Checkpoint, error) {
	return ifThere(s.Checkpoint(ctx, size))
}

// A copiedEntry is an entry for a commit.
type copiedEntry struct {
	store.Entry
	writer store.PayloadWriter // of a large payload; nil: none
}

// read reads entries from the source, and writes their large payloads.
func (c *copier) read(ctx context.Context, from, to uint64) ([]copiedEntry, error) {
	skeletons, err := c.From.Skeletons(ctx, from, to)
	if err != nil {
		return nil, err
	}
	out := make([]copiedEntry, len(skeletons))
	var g errgroup.Group
	for i := range out {
		g.Go(func() error {
			defer crash.Report()
			if err := c.readEntry(ctx, from+uint64(i), &skeletons[i], &out[i]); err != nil {
				return fmt.Errorf("copy entry %d: %w", from+uint64(i), err)
			}
			return nil
		})
	}
	return out, g.Wait()
}

// readEntry reads an entry, whose openings must be those of its skeleton.
func (c *copier) readEntry(ctx context.Context, index uint64, sk *entry.Skeleton, e *copiedEntry) error {
	e.Skeleton = *sk
	opening, err := c.From.Header(ctx, index)
	if err == nil {
		err = checkHeader(index, sk, opening)
	}
	if err != nil {
		return err
	}
	header, _ := parseHeader(index, opening) // nil also if it was recorded with an error
	if e.NoHeader = opening == nil; opening != nil {
		e.Header = *opening
	}
	payload, err := c.From.Payload(ctx, index)
	if err != nil {
		return err
	}
	if payload == nil {
		e.NoPayload = true
		return nil
	}
	if opening == nil {
		return fmt.Errorf("its header is erased, and its payload is there: start the server once, which erases it: %w", ErrDamaged)
	}
	e.Payload = *payload
	if payload.Content == nil {
		return c.readLarge(ctx, index, header, e)
	}
	if header != nil && entry.Commitment(payload.Salt, payload.Content) != header.Payload.Commitment {
		return damagedPayload(index)
	}
	return nil
}

// readLarge copies a large payload.
func (c *copier) readLarge(ctx context.Context, index uint64, h *entry.Header, e *copiedEntry) (err error) {
	r, err := c.From.OpenPayload(ctx, index)
	if err != nil {
		return err
	}
	if r == nil {
		return fmt.Errorf("its payload was erased meanwhile: stop the servers of the log: %w", ErrCopy)
	}
	checked := checkedPayload(index, h, r)
	defer func() { err = errors.Join(err, checked.Close()) }()
	if e.writer, err = c.To.CreatePayload(ctx); err != nil {
		return err
	}
	n, err := io.Copy(e.writer, checked)
	if err != nil {
		return err
	}
	if uint64(n) != r.Size {
		return damagedPayload(index)
	}
	l, err := e.writer.Finish()
	e.Large = &l
	return err
}
