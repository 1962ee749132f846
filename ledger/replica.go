package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A replica is a copy of a log on a machine that cannot reach it. It has the
// leaves of all entries and the records of some streams, imported from deltas.
// Its published state is the checkpoint of the last completely imported delta.
// It has no signing key and accepts no appends.

// ErrReplica reports that only the log itself, not a replica, can do what was
// requested.
var ErrReplica = errors.New("this is a read-only replica of the log: append to the log itself")

// OpenReplica opens the published state of a replica. The checkpoint must
// satisfy the policy. An empty replica is an error.
func OpenReplica(ctx context.Context, cfg Config, policy *receipt.TrustPolicy) (*Ledger, error) {
	cfg.Signer = noSigner{policy.LogKey()}
	cfg.setDefaults()
	st, err := cfg.Store.Follow(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("load the replica: %w", err)
	}
	if !st.Raw {
		return nil, errors.New("load the replica: not the store of a replica")
	}
	signed, size, err := lastCheckpoint(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("load the replica: %w", err)
	}
	if size == 0 {
		return nil, errors.New("load the replica: no import has completed yet: run muniment import FILE --data FOLDER")
	}
	head, _, err := policy.VerifyCheckpoint(signed)
	if err != nil {
		return nil, fmt.Errorf("load the replica: %w", err)
	}
	l := &Ledger{cfg: cfg, store: cfg.Store, raw: true, replica: true, origin: entry.HashOrigin(policy.Origin()), ids: newIdentifier(&st.Secret), log: cfg.Logger,
		done: make(chan struct{}), purge: make(chan struct{}, 1), purged: make(chan struct{}), firstWitnessed: make(chan struct{})}
	l.queue.init(cfg)
	l.reserve.Store(cfg.ReserveBytes)
	close(l.done) // there is no sequencer
	streams, err := cfg.Store.StreamHeads(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the replica: %w", indexDamage(err, true))
	}
	if err := l.reapplyErasures(ctx, streams, size); err != nil {
		return nil, fmt.Errorf("repeat recorded erasures: %w", err)
	}
	l.tiles = newTileCache(cfg.Store, cfg.TileCache)
	t, err := loadTree(ctx, cfg.Store, &store.State{Raw: true, Size: size}, l.origin)
	if err != nil {
		return nil, fmt.Errorf("load the tree: %w", err)
	}
	if root := t.root(); root != head.Root {
		return nil, wrongRoot(root, head.Root)
	}
	if err := l.store.Mark(&store.Checkpoint{Size: size, Signed: signed}); err != nil {
		return nil, fmt.Errorf("mark the checkpoint of size %d as published: %w", size, err)
	}
	l.published.Store(&Published{Size: size, Root: head.Root, Checkpoint: signed, Superseded: make(chan struct{}), edges: t.snapshot(), tiles: l.tiles, tail: receipt.NewProofTail(signed)})
	if policy.RequiresWitness() {
		l.cfg.Quorum = func(signed []byte) error {
			_, _, err := policy.VerifyCheckpoint(signed)
			return err
		}
		l.serveWitnessed(head, signed)
	}
	purging, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stopPurge = stop
	go func() {
		defer crash.Report()
		l.runPurge(purging)
	}()
	return l, nil
}

// erase repeats the erasures recorded in the streams, and returns when the
// erased bytes have left the disk.
func erase(ctx context.Context, s store.Store, st *store.State, streams []store.StreamHead) error {
	l := &Ledger{store: s, replica: true, ids: newIdentifier(&st.Secret), log: slog.New(slog.DiscardHandler)}
	if err := l.reapplyErasures(ctx, streams, st.Size); err != nil {
		return fmt.Errorf("repeat recorded erasures: %w", err)
	}
	if s.Unpurged() == 0 {
		return nil
	}
	return s.Purge(ctx)
}

// IsReplica reports whether the ledger is a replica.
func (l *Ledger) IsReplica() bool { return l.replica }

// lastCheckpoint returns the latest stored checkpoint and its size, or size 0
// if there is none. A replica has one checkpoint per delta.
func lastCheckpoint(ctx context.Context, s store.Log) (signed []byte, size uint64, err error) {
	for {
		cp, err := s.Checkpoint(ctx, size+1)
		if errors.Is(err, store.ErrNotFound) {
			return signed, size, nil
		}
		if err != nil {
			return nil, 0, err
		}
		signed, size = cp.Signed, cp.Size
	}
}

// noSigner has the name of a log but not its private key.
type noSigner struct{ key note.Verifier }

func (s noSigner) Name() string                  { return s.key.Name() }
func (s noSigner) KeyHash() uint32               { return s.key.KeyHash() }
func (noSigner) Sign(msg []byte) ([]byte, error) { return nil, ErrReplica }

// timeFrom returns the time of an entry. A replica lacks the times of other
// streams' entries. For those it returns the time of the stream's next entry.
// ok is false if there is none.
func (l *Ledger) timeFrom(ctx context.Context, p *Published, s *Stream, index uint64) (time uint64, ok bool, err error) {
	sk, err := l.store.Skeletons(ctx, index, index+1)
	if l.replica && errors.Is(err, store.ErrNotFound) {
		list, err := l.store.Postings(ctx, streamTerm(s.ID))
		if err != nil {
			return 0, false, err
		}
		defer list.Close()
		if index, ok, err = list.SeekGE(index); err != nil || !ok || index >= p.Size {
			return 0, false, err
		}
		sk, err = l.store.Skeletons(ctx, index, index+1)
		if err != nil {
			return 0, false, err
		}
		return sk[0].Time, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	return sk[0].Time, true, nil
}
