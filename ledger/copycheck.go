package ledger

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"strings"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// verify checks the copy like any store, so that its tree, its checkpoints and
// its index are computed from its entries, and compares it with the source.
func (c *copier) verify(ctx context.Context) error {
	has, err := c.To.Follow(ctx, 0)
	if err != nil {
		return err
	}
	if *has != *c.state {
		return fmt.Errorf("%w: it has %d entries and the root %s, and the source %d and %s", ErrCopy, has.Size, has.Root.Base64(), c.state.Size, c.state.Root.Base64())
	}
	if err := c.To.CheckLarge(ctx); err != nil {
		return err
	}
	check := c.Check
	check.Store, check.State = comparedStore{Store: c.To, from: c.From}, has
	check.Published = append([]PublishedCheckpoint{{File: "publish mark", Signed: c.Published}}, check.Published...)
	check.Progress = func(done, _ uint64) { c.progress(CheckCopy, done) }
	var found copyFindings
	check.Report = found.add
	sum, err := CheckStore(ctx, check)
	if err != nil {
		return fmt.Errorf("check the copy: %w", err)
	}
	if found.n > 0 {
		return found.err()
	}
	c.report.Payloads, c.report.Bytes, c.report.Erased, c.report.Checkpoints = sum.Payloads, sum.Bytes, sum.Erased, sum.Checkpoints
	for _, compare := range []func(context.Context) error{c.compareCheckpoints, c.compareHeads, c.compareIndex} {
		if err := compare(ctx); err != nil {
			return err
		}
	}
	return c.checkStopped(ctx)
}

// checkStopped returns an error if a server appended to the source.
func (c *copier) checkStopped(ctx context.Context) error {
	now, err := c.From.Follow(ctx, c.state.Size)
	if err != nil {
		return err
	}
	if *now != *c.state {
		return fmt.Errorf("%w: the source had %d entries, and now has %d: stop all its servers, and copy again", ErrCopy, c.state.Size, now.Size)
	}
	return nil
}

// copyFindings collects what is wrong with a copy. A fault that was recorded
// like this is the log's, and not the copy's.
type copyFindings struct {
	n     int
	first []string
}

func (f *copyFindings) add(found Finding) {
	if found.Remedy == Lost {
		return
	}
	if f.n++; len(f.first) == 5 {
		return
	}
	text := found.Kind
	if found.Entry != nil {
		text += fmt.Sprintf(" of entry %d", *found.Entry)
	}
	f.first = append(f.first, text+": "+found.Problem)
}

func (f *copyFindings) err() error {
	return fmt.Errorf("%w: %d findings: %s\nIf the source has them as well, muniment fsck names the remedy", ErrCopy, f.n, strings.Join(f.first, "; "))
}

// A comparedStore is a copy whose openings are compared with those of the
// source when they are read.
type comparedStore struct {
	store.Store
	from store.Store
}

func differs(what string, index uint64) error {
	return fmt.Errorf("the %s of entry %d is not that of the source: %w", what, index, ErrCopy)
}

// Header implements store.Store.
func (s comparedStore) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	h, err := s.Store.Header(ctx, index)
	if err != nil {
		return nil, err
	}
	want, err := s.from.Header(ctx, index)
	if err != nil {
		return nil, err
	}
	if (h == nil) != (want == nil) || h != nil && (h.Salt != want.Salt || !bytes.Equal(h.Content, want.Content)) {
		return nil, differs("header", index)
	}
	return h, nil
}

// OpenPayload implements store.Store. The content is compared by the commitment
// in the header.
func (s comparedStore) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	want, err := s.from.PayloadInfo(ctx, index)
	if err != nil {
		return nil, err
	}
	r, err := s.Store.OpenPayload(ctx, index)
	if err != nil {
		return nil, err
	}
	if (r == nil) != want.Erased || r != nil && (r.Salt != want.Salt || r.Size != want.Size) {
		if r != nil {
			r.Close()
		}
		return nil, differs("payload", index)
	}
	return r, nil
}

// compareCheckpoints compares the checkpoints and the cosigned ones.
func (c *copier) compareCheckpoints(ctx context.Context) error {
	type read = func(ctx context.Context, minSize uint64) (*store.Checkpoint, error)
	for _, rows := range []struct {
		kind     string
		from, to read
	}{{"checkpoint", c.From.Checkpoint, c.To.Checkpoint}, {"cosigned checkpoint", c.From.Cosigned, c.To.Cosigned}} {
		after := uint64(0)
		err := eachCheckpoint(ctx, rows.from, func(want *store.Checkpoint) error {
			cp, err := rows.to(ctx, after)
			if err != nil {
				return err
			}
			if cp.Size != want.Size || !bytes.Equal(cp.Signed, want.Signed) {
				return fmt.Errorf("the %s of size %d is not that of the source: %w", rows.kind, cp.Size, ErrCopy)
			}
			after = cp.Size + 1
			return nil
		})
		if err != nil {
			return err
		}
		if cp, err := rows.to(ctx, after); err == nil {
			return fmt.Errorf("the %s of size %d is not in the source: %w", rows.kind, cp.Size, ErrCopy)
		}
	}
	return nil
}

func (c *copier) compareHeads(ctx context.Context) error {
	both := [2]map[entry.Hash]store.StreamHead{{}, {}}
	for i, s := range []store.Store{c.From, c.To} {
		heads, err := s.StreamHeads(ctx)
		if err != nil {
			return indexDamage(err, false)
		}
		for _, h := range heads {
			both[i][h.StreamID] = h
		}
	}
	if !maps.Equal(both[0], both[1]) {
		return fmt.Errorf("the ends of the streams are not those of the source: %w", ErrCopy)
	}
	return nil
}

// compareIndex compares the keys, postings and facts.
func (c *copier) compareIndex(ctx context.Context) error {
	next, stop := iter.Pull2(c.To.Projections(ctx))
	defer stop()
	for want, err := range c.From.Projections(ctx) {
		if err != nil {
			return err
		}
		p, err, ok := next()
		if err != nil {
			return err
		}
		if !ok || order(&p, &want) != 0 {
			return fmt.Errorf("the index of entry %d is not that of the source: %w", want.Index(), ErrCopy)
		}
	}
	if p, err, ok := next(); ok {
		if err != nil {
			return err
		}
		return fmt.Errorf("the index of entry %d is not in the source: %w", p.Index(), ErrCopy)
	}
	return nil
}
