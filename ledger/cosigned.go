package ledger

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// Cosignatures arrive after a checkpoint is published, from witnesses and from
// the log's own cosigner keys. They never change the published state. When they
// meet the quorum, the checkpoint is witnessed, and is kept and served with
// them.

var (
	// ErrNoQuorum reports that the log's policies require no cosignatures, so
	// no checkpoint is ever witnessed.
	ErrNoQuorum = errors.New("the log's policy requires no cosignature")
	// ErrNotWitnessed reports that no suitable checkpoint meets the quorum yet.
	ErrNotWitnessed = errors.New("not witnessed yet")
	// ErrUnconfirmed is the error of an append until the log's state is
	// confirmed to be its latest.
	ErrUnconfirmed = errors.New("the log's state is not confirmed yet")
)

// A Witnessed is a published checkpoint whose signatures meet the quorum. It
// never changes.
type Witnessed struct {
	Size       uint64
	Root       entry.Hash
	Checkpoint []byte        // signed note, with cosignatures
	Superseded chan struct{} // closed when another one replaces it

	tail receipt.ProofTail
}

// Witnessed returns the latest witnessed checkpoint, or nil if there is none
// yet. Without a quorum, it is the latest published checkpoint with any
// cosignatures it has.
func (l *Ledger) Witnessed() *Witnessed {
	w := l.witnessed.Load()
	if l.cfg.Quorum != nil {
		return w
	}
	p := l.published.Load()
	if w != nil && w.Size == p.Size {
		return w
	}
	return &Witnessed{Size: p.Size, Root: p.Root, Checkpoint: p.Checkpoint, Superseded: p.Superseded, tail: p.tail}
}

// RequiresWitness reports whether the log has a quorum.
func (l *Ledger) RequiresWitness() bool { return l.cfg.Quorum != nil }

// Cosign keeps and serves a published checkpoint with all verified cosignatures
// so far, which must meet the quorum. When it returns nil, the checkpoint is
// durable. It may be called again for the same size with more cosignatures.
func (l *Ledger) Cosign(ctx context.Context, signed []byte) error {
	if l.readOnly {
		return l.held()
	}
	c, err := l.checkCosigned(ctx, l.published.Load(), signed)
	if err != nil {
		return err
	}
	l.cosigning.Lock()
	defer l.cosigning.Unlock()
	instead := c.Size
	_, now := l.cfg.Clock.Now()
	switch w := l.witnessed.Load(); {
	case w == nil:
		l.keptAt = now
	case c.Size < w.Size: // by a slow witness
		if tail, _, err := tailAt(ctx, l.store.Cosigned, c.Size); tail == nil {
			return err
		}
	case c.Size > w.Size && now-l.keptAt < l.cfg.WitnessedEvery:
		instead = w.Size
	case c.Size > w.Size:
		l.keptAt = now // the previous one stays
	}
	if err := l.store.KeepCosigned(ctx, &store.Checkpoint{Size: c.Size, Signed: signed}, instead); err != nil {
		if l.Shared() || ctx.Err() != nil { // the next round keeps it
			return fmt.Errorf("keep the cosigned checkpoint: %w", err)
		}
		l.fail(err)
		return ErrFailed
	}
	l.serveWitnessed(c, signed)
	return nil
}

// checkCosigned checks a cosigned checkpoint against the log and the quorum.
func (l *Ledger) checkCosigned(ctx context.Context, p *Published, signed []byte) (receipt.Checkpoint, error) {
	c, err := receipt.ParseCheckpointUnverified(signed)
	if err != nil {
		return c, fmt.Errorf("cosigned checkpoint: %w", err)
	}
	if c.Size > p.Size {
		return c, fmt.Errorf("cosigned checkpoint of size %d: %w of size %d", c.Size, ErrOutOfRange, p.Size)
	}
	root, err := p.rootOf(ctx, c.Size)
	if err != nil {
		return c, fmt.Errorf("cosigned checkpoint of size %d: %w", c.Size, err)
	}
	if c.Origin != l.Origin() || c.Root != root {
		return c, fmt.Errorf("cosigned checkpoint of %q, size %d: its root is %s, want %s", c.Origin, c.Size, c.Root.Base64(), root.Base64())
	}
	if l.cfg.Quorum != nil {
		if err := l.cfg.Quorum(signed); err != nil {
			return c, fmt.Errorf("cosigned checkpoint of size %d: %w: %w", c.Size, ErrNotWitnessed, err)
		}
	}
	return c, nil
}

// serveWitnessed makes the checkpoint the latest witnessed one, unless it is
// smaller than the current one.
func (l *Ledger) serveWitnessed(c receipt.Checkpoint, signed []byte) {
	old := l.witnessed.Load()
	if old != nil && c.Size < old.Size {
		return
	}
	l.witnessed.Store(&Witnessed{Size: c.Size, Root: c.Root, Checkpoint: signed, Superseded: make(chan struct{}), tail: receipt.NewProofTail(signed)})
	if old != nil {
		close(old.Superseded)
		return
	}
	close(l.firstWitnessed)
}

// loadWitnessed serves the last kept checkpoint, unless the policy has changed
// and the checkpoint no longer meets the quorum.
func (l *Ledger) loadWitnessed(ctx context.Context) error {
	last, err := ifThere(l.store.LastCosigned(ctx))
	if err != nil || last == nil {
		return err
	}
	switch c, err := l.checkCosigned(ctx, l.published.Load(), last.Signed); {
	case errors.Is(err, ErrNotWitnessed):
		l.log.Warn("the last witnessed checkpoint no longer meets the policy", "size", last.Size, "reason", err)
	case err != nil:
		return fmt.Errorf("%w: the store is damaged", err)
	default:
		_, now := l.cfg.Clock.Now()
		l.keptAt = now - l.cfg.WitnessedEvery // it stays
		l.serveWitnessed(c, last.Signed)
	}
	return nil
}

// AwaitWitnessed waits until the entry is in a witnessed checkpoint. Errors:
// ErrNoQuorum; ErrNotWitnessed if the context ends first.
func (l *Ledger) AwaitWitnessed(ctx context.Context, index uint64) error {
	if l.cfg.Quorum == nil {
		return ErrNoQuorum
	}
	for {
		next := l.firstWitnessed
		if w := l.witnessed.Load(); w != nil {
			if w.Size > index {
				return nil
			}
			next = w.Superseded
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("entry %d is recorded, but %w: %w", index, ErrNotWitnessed, ctx.Err())
		}
	}
}

// Hold makes new appends fail with the reason until Release is called.
func (l *Ledger) Hold(reason error) { l.hold.Store(&reason) }

// Release ends a Hold, unless the log is read-only.
func (l *Ledger) Release() {
	if !l.readOnly {
		l.hold.Store(nil)
	}
}

func (l *Ledger) held() error {
	if h := l.hold.Load(); h != nil {
		return *h
	}
	return nil
}
