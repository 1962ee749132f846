package ledger

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// ErrRolledBack reports that the log is older than its newest checkpoint. It
// refuses appends, which would fork the log.
var ErrRolledBack = errors.New("the log is older than its newest checkpoint, and read-only")

// OpenReadOnly opens the log as it was at a checkpoint that the policy's log
// key has signed. It signs no checkpoint and writes nothing: the store may be
// open for reading only. The signer of cfg, which may be nil, signs exports and
// nothing else. Appends are refused for the reason.
//
// Openings that an entry records as erased are not served if the store has
// them.
func OpenReadOnly(ctx context.Context, cfg Config, policy *receipt.TrustPolicy, signed []byte, reason error) (*Ledger, error) {
	if key := policy.LogKey(); cfg.Signer == nil || cfg.Signer.Name() != key.Name() || cfg.Signer.KeyHash() != key.KeyHash() {
		cfg.Signer = noSigner{key}
	}
	cfg.Overlap = nil
	cfg.setDefaults()
	if _, err := note.Open(signed, note.VerifierList(policy.LogKey())); err != nil {
		return nil, fmt.Errorf("the checkpoint to serve is not signed by the log's key: %w", err)
	}
	cp, err := receipt.ParseCheckpointUnverified(signed)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint to serve: %w", err)
	}
	st, err := cfg.Store.Follow(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("load the log: %w", err)
	}
	if cp.Size > st.Size || cp.Origin != cfg.Signer.Name() {
		return nil, fmt.Errorf("the checkpoint to serve has the origin %q and size %d, but the store has %d entries", cp.Origin, cp.Size, st.Size)
	}
	l := &Ledger{cfg: cfg, store: cfg.Store, raw: st.Raw, readOnly: true, origin: entry.HashOrigin(cfg.Signer.Name()), ids: newIdentifier(&st.Secret), log: cfg.Logger,
		done: make(chan struct{}), purged: make(chan struct{}), firstWitnessed: make(chan struct{}), stopBackground: func() {}}
	l.queue.init(cfg)
	l.reserve.Store(cfg.ReserveBytes)
	close(l.done) // there is no sequencer
	close(l.purged)
	l.Hold(reason)
	if err := l.hideErased(ctx, st); err != nil {
		return nil, fmt.Errorf("look for recorded erasures: %w", err)
	}
	st.Size = cp.Size // later entries were not published
	l.tiles = newTileCache(l.store, cfg.TileCache)
	t, err := loadTree(ctx, l.store, st, l.origin)
	if err != nil {
		return nil, fmt.Errorf("load the tree: %w", notThere(err))
	}
	if root := t.root(); root != cp.Root {
		return nil, wrongRoot(root, cp.Root)
	}
	if !l.raw && cp.Size > 0 {
		sk, err := l.store.Skeletons(ctx, cp.Size-1, cp.Size)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", cp.Size-1, notThere(err))
		}
		st.Time = sk[0].Time
	}
	l.published.Store(&Published{Size: cp.Size, Root: cp.Root, Time: st.Time, Checkpoint: signed, Superseded: make(chan struct{}),
		edges: t.snapshot(), tiles: l.tiles, tail: receipt.NewProofTail(signed)})
	if err := l.loadWitnessed(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// hideErased hides the openings that are recorded as erased. A read-only store
// cannot erase them.
func (l *Ledger) hideErased(ctx context.Context, st *store.State) error {
	if l.raw {
		return nil
	}
	streams, err := l.store.StreamHeads(ctx)
	if err != nil {
		return indexDamage(err, false)
	}
	undone, err := l.undoneErasures(ctx, streams, 0, st.Size)
	if err != nil || len(undone) == 0 {
		return err
	}
	h := hidingStore{Store: l.store, headers: map[uint64]bool{}}
	for _, e := range undone {
		h.headers[e.Index] = h.headers[e.Index] || e.Header
	}
	l.store = h
	l.log.Warn("openings recorded as erased are in the store; not serving them, and erasing them when the log is next opened for writing", "entries", len(h.headers))
	return nil
}

// A hidingStore is a store for reading that hides some openings.
type hidingStore struct {
	store.Store
	headers map[uint64]bool // by entry whose payload is hidden: whether its header is, too
}

// Header implements store.Store.
func (s hidingStore) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	if s.headers[index] {
		return nil, nil
	}
	return s.Store.Header(ctx, index)
}

// Payload implements store.Store.
func (s hidingStore) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	if _, ok := s.headers[index]; ok {
		return nil, nil
	}
	return s.Store.Payload(ctx, index)
}

// PayloadInfo implements store.Store.
func (s hidingStore) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	if _, ok := s.headers[index]; ok {
		return store.PayloadInfo{Erased: true}, nil
	}
	return s.Store.PayloadInfo(ctx, index)
}

// Facts implements store.Store.
func (s hidingStore) Facts(ctx context.Context, index uint64) ([]byte, error) {
	if _, ok := s.headers[index]; ok {
		return nil, store.ErrNotFound
	}
	return s.Store.Facts(ctx, index)
}

// OpenPayload implements store.Store.
func (s hidingStore) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	if _, ok := s.headers[index]; ok {
		return nil, nil
	}
	return s.Store.OpenPayload(ctx, index)
}
