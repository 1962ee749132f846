package ledger

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// checkpointRows are the stored checkpoints of one sort, by size.
type checkpointRows struct {
	kind string
	read func(ctx context.Context, minSize uint64) (*store.Checkpoint, error)
	next *store.Checkpoint // nil: no more
	head receipt.Checkpoint
}

// An expectedRoot is a checkpoint from outside the store.
type expectedRoot struct {
	file string
	receipt.Checkpoint
}

// readCheckpoints reads the first checkpoint of each sort, and those from
// outside the store.
func (k *checker) readCheckpoints(ctx context.Context) error {
	k.rows = [2]checkpointRows{{kind: "checkpoint", read: k.Store.Checkpoint}, {kind: "cosignature", read: k.Store.Cosigned}}
	for i := range k.rows {
		if err := k.advance(ctx, &k.rows[i], 0); err != nil {
			return err
		}
	}
	for _, p := range k.Published {
		c, err := receipt.ParseCheckpointUnverified(p.Signed)
		if err == nil && k.Verify != nil {
			err = k.Verify(p.Signed, false)
		}
		switch {
		case err != nil:
			k.Report(Finding{Kind: "checkpoint", File: p.File, Remedy: Restore, Problem: err.Error()})
		case c.Origin != k.Origin:
			k.Report(Finding{Kind: "checkpoint", File: p.File, Remedy: Restore, Problem: fmt.Sprintf("it is of another log, %q", c.Origin)})
		case c.Size > k.State.Size:
			k.older = true
			k.Report(Finding{Kind: "checkpoint", File: p.File, Remedy: Restore, Problem: fmt.Sprintf("the store is older: it has %d entries, and a checkpoint of %d was published", k.State.Size, c.Size)})
		default:
			k.outside = append(k.outside, expectedRoot{p.File, c})
		}
	}
	return k.checkRoots(ctx, 0)
}

// advance moves to the next valid checkpoint.
func (k *checker) advance(ctx context.Context, r *checkpointRows, minSize uint64) error {
	for {
		cp, err := r.read(ctx, minSize)
		r.next = nil
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			k.Report(Finding{Kind: r.kind, Remedy: Restore, Problem: fmt.Sprintf("those of size %d or more can't be read: %s", minSize, reason(err))})
			return damageOnly(ctx, err)
		}
		k.sum.Checkpoints++
		minSize = cp.Size + 1
		head, err := receipt.ParseCheckpointUnverified(cp.Signed)
		if err == nil && k.Verify != nil {
			err = k.Verify(cp.Signed, r.kind == "cosignature")
		}
		switch {
		case err != nil:
		case head.Origin != k.Origin:
			err = fmt.Errorf("it is of another log, %q", head.Origin)
		case head.Size != cp.Size:
			err = fmt.Errorf("it is of size %d", head.Size)
		case cp.Size > k.State.Size && !k.Replica: // the importer writes a delta's entries first
			err = fmt.Errorf("the store has %d entries", k.State.Size)
		}
		if err == nil {
			r.next, r.head = cp, head
			return nil
		}
		k.Report(Finding{Kind: r.kind, Remedy: Restore, Problem: fmt.Sprintf("that of size %d: %s", cp.Size, err)})
	}
}

// checkRoots compares the checkpoints of the size with the tree. It skips
// checkpoints of smaller sizes, whose tree is unknown.
func (k *checker) checkRoots(ctx context.Context, size uint64) error {
	for i := range k.rows {
		r := &k.rows[i]
		for r.next != nil && r.next.Size <= size {
			if r.next.Size == size {
				k.compareRoot(size, r.head.Root, Finding{Kind: r.kind, Remedy: Restore, Problem: fmt.Sprintf("that of size %d: its root is not that of the entries", size)})
			}
			if err := k.advance(ctx, r, r.next.Size+1); err != nil {
				return err
			}
		}
	}
	for _, c := range k.outside {
		if c.Size == size {
			k.compareRoot(size, c.Root, Finding{Kind: "checkpoint", File: c.file, Remedy: Restore, Problem: fmt.Sprintf("at size %d it has another root than the entries", size)})
		}
	}
	return nil
}

// compareRoot compares the root of the current tree with that of a checkpoint.
// As long as no leaf is proven, a damaged entry can cause the difference. Then
// no later checkpoint agrees with the tree either.
func (k *checker) compareRoot(size uint64, root entry.Hash, f Finding) {
	switch {
	case k.broken:
	case k.tree.root() == root:
		for _, f := range k.doubtful {
			k.Report(f)
		}
		k.doubtful, k.agreed = nil, size
	case k.trust != trustNone:
		k.Report(f)
	default:
		if len(k.doubtful) == 0 {
			k.disagreed = size
		}
		if len(k.doubtful) < maxSuspects {
			k.doubtful = append(k.doubtful, f)
		}
	}
}
