package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A copy is a log in another store, where it can go on: the same entries,
// openings, checkpoints, index, and secret of the index. It is made in commits,
// each of which has many entries and the checkpoints of their sizes. The index
// and the cosignatures follow. Then the copy is checked like any store, and
// compared with the source. The caller puts it in place only then.

// ErrCopy reports that a copy is not the same as its source, or that the source
// is damaged.
var ErrCopy = errors.New("the copy is not whole")

// A CopyConfig configures Copy.
type CopyConfig struct {
	// From is the store to copy, open for reading. No server may append to it.
	From store.Store
	// To is a new store, or an unfinished copy of the same log, with the secret
	// of From.
	To store.Store
	// Published is the checkpoint of the publish mark of From.
	Published []byte
	// Check is how the copy is checked. Copy sets the store, its state, and
	// what is called for findings and progress.
	Check        StoreCheck
	ReserveBytes uint64 // free disk space below which nothing is written
	// Progress is called with the entries that were copied or checked. It may
	// be nil.
	Progress func(step CopyStep, done, total uint64)
}

// A CopyStep is a pass over the entries.
type CopyStep string

// The steps of a copy.
const (
	CopyEntries CopyStep = "copy"
	CheckCopy   CopyStep = "check"
)

// A CopyReport describes a copy.
type CopyReport struct {
	Size        uint64     `json:"size"`
	Root        entry.Hash `json:"-"`
	Payloads    uint64     `json:"payloads"`
	Bytes       uint64     `json:"bytes"`  // of payloads
	Erased      uint64     `json:"erased"` // entries without their payload
	Checkpoints uint64     `json:"checkpoints"`
	Resumed     uint64     `json:"resumed"` // entries that an interrupted copy had written
}

// Copy copies a log of streams into another store, and verifies the copy. After
// an error, the copy must not be used; another Copy can go on with it.
//
// Errors: ErrCopy, ErrDamaged, ErrDiskFull.
func Copy(ctx context.Context, cfg CopyConfig) (*CopyReport, error) {
	c := &copier{CopyConfig: cfg, log: entry.HashOrigin(cfg.Check.Origin)}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{c.entries, c.index, c.cosigned, c.verify} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return &c.report, nil
}

// A copier is one copy.
type copier struct {
	CopyConfig
	log    entry.OriginHash
	state  *store.State // of From
	tree   *tree        // of what To has
	next   *store.Checkpoint
	report CopyReport
}

func (c *copier) progress(step CopyStep, done uint64) {
	if c.Progress != nil {
		c.Progress(step, done, c.state.Size)
	}
}

// begin compares the states of the two stores, and marks the copy as older than
// what was published, so that it is refused wherever it is opened before it is
// whole.
func (c *copier) begin(ctx context.Context) (err error) {
	if c.state, err = c.From.Follow(ctx, 0); err != nil {
		return err
	}
	if c.state.Raw {
		return errors.New("only a log of streams can be copied")
	}
	if err := c.checkErased(ctx); err != nil {
		return err
	}
	has, err := c.To.Follow(ctx, 0)
	if err != nil {
		return err
	}
	if has.Secret != c.state.Secret || has.Size > c.state.Size || has.Raw {
		return fmt.Errorf("%w: its store has another log", ErrCopy)
	}
	if c.tree, err = loadTree(ctx, c.To, has, c.log); err != nil {
		return fmt.Errorf("load the tree: %w", err)
	}
	if root := c.tree.root(); has.Size > 0 && root != has.Root {
		return wrongRoot(root, has.Root)
	}
	c.report = CopyReport{Size: c.state.Size, Root: c.state.Root, Resumed: has.Size}
	if c.state.Size == 0 {
		c.report.Root = emptyRoot
	}
	published, err := receipt.ParseCheckpointUnverified(c.Published)
	if err != nil {
		return fmt.Errorf("the publish mark of the source: %w", err)
	}
	return c.To.Mark(&store.Checkpoint{Size: published.Size, Signed: c.Published})
}

// checkErased returns an error if the source has openings that an entry records
// as erased.
func (c *copier) checkErased(ctx context.Context) error {
	streams, err := c.From.StreamHeads(ctx)
	if err != nil {
		return indexDamage(err, false)
	}
	l := &Ledger{store: c.From, ids: newIdentifier(&c.state.Secret), log: slog.New(slog.DiscardHandler)}
	undone, err := l.undoneErasures(ctx, streams, 0, c.state.Size)
	if err != nil {
		return fmt.Errorf("look for recorded erasures: %w", err)
	}
	if len(undone) > 0 {
		return fmt.Errorf("%d entries are recorded as erased, and their openings are in the store: start its server once, which erases them", len(undone))
	}
	return nil
}

// index copies the keys, postings, facts and stream heads.
func (c *copier) index(ctx context.Context) error {
	heads, err := c.From.StreamHeads(ctx)
	if err != nil {
		return indexDamage(err, false)
	}
	if err := c.To.ReplaceProjections(ctx, c.From.Projections(ctx), heads); err != nil {
		return fmt.Errorf("copy the index: %w", err)
	}
	return nil
}

// cosigned copies the checkpoints with the cosignatures of witnesses.
func (c *copier) cosigned(ctx context.Context) error {
	return eachCheckpoint(ctx, c.From.Cosigned, func(cp *store.Checkpoint) error {
		if err := c.To.KeepCosigned(ctx, cp, 0); err != nil {
			return fmt.Errorf("copy the cosigned checkpoint of size %d: %w", cp.Size, err)
		}
		return nil
	})
}

// eachCheckpoint calls f for all checkpoints in order.
func eachCheckpoint(ctx context.Context, read func(ctx context.Context, minSize uint64) (*store.Checkpoint, error), f func(*store.Checkpoint) error) error {
	for size := uint64(0); ; {
		cp, err := ifThere(read(ctx, size))
		if err != nil || cp == nil {
			return err
		}
		if err := f(cp); err != nil {
			return err
		}
		size = cp.Size + 1
	}
}

// copyUndecided is how long a copy waits for the outcome of a commit.
const copyUndecided = time.Minute

// commit writes a commit of the copy.
func (c *copier) commit(ctx context.Context, p *store.Commit) error {
	free, err := c.To.FreeBytes()
	if err != nil {
		return err
	}
	if free < c.ReserveBytes {
		return fmt.Errorf("%w: %d MiB are free, and %d MiB are reserved: make room, and copy again to continue at entry %d", ErrDiskFull, free>>20, c.ReserveBytes>>20, p.From)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted before entry %d: %w; copy again to continue", p.From, err)
	}
	p.Tiles, p.Root = c.tree.takeFull(), c.tree.root()
	undecided := func(err error) bool { return errors.Is(err, store.ErrUndecided) && ctx.Err() == nil }
	if err := repeat(copyUndecided, undecided, func() error { return c.To.Commit(ctx, p) }, func(error) {}); err != nil {
		return fmt.Errorf("copy entries %d to %d: %w", p.From, p.From+uint64(p.Len())-1, err)
	}
	return nil
}
