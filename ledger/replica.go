package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A replica is a copy of a log on a machine that cannot reach it. It has the
// leaves of all entries and the records of some streams, imported from deltas.
// Its published state is the checkpoint of the last completely imported delta.
// It has no signing key and accepts no appends. It can grow while it is open.

// ErrReplica reports that only the log itself, not a replica, can do what was
// requested.
var ErrReplica = errors.New("this is a read-only replica of the log: append to the log itself")

// ErrEmptyReplica reports that a replica has no state to serve.
var ErrEmptyReplica = errors.New("no import has completed yet: run muniment import FILE --data FOLDER")

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
	if policy.RequiresWitness() {
		cfg.Quorum = func(signed []byte) error {
			_, _, err := policy.VerifyCheckpoint(signed)
			return err
		}
	}
	l := &Ledger{cfg: cfg, store: cfg.Store, raw: true, replica: true, follows: policy, origin: entry.HashOrigin(policy.Origin()), ids: newIdentifier(&st.Secret), log: cfg.Logger,
		done: make(chan struct{}), purge: make(chan struct{}, 1), purged: make(chan struct{}), firstWitnessed: make(chan struct{}), importing: make(chan struct{}, 1)}
	l.queue.init(cfg)
	l.reserve.Store(cfg.ReserveBytes)
	close(l.done) // there is no sequencer
	l.tiles = newTileCache(cfg.Store, cfg.TileCache)
	if l.known, err = newKnown(l, cfg.EntryCache); err != nil {
		return nil, err
	}
	if err := l.publishImported(ctx); err != nil {
		return nil, fmt.Errorf("load the replica: %w", err)
	}
	purging, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stopBackground = stop
	go func() {
		defer crash.Report()
		l.runPurge(purging)
	}()
	return l, nil
}

// publishImported publishes the state of the last complete import.
func (l *Ledger) publishImported(ctx context.Context) error {
	signed, size, err := ImportedState(ctx, l.store)
	if err != nil {
		return err
	}
	if size == 0 {
		return ErrEmptyReplica
	}
	head, _, err := l.follows.VerifyCheckpoint(signed)
	if err != nil {
		return err
	}
	streams, err := l.store.StreamHeads(ctx)
	if err != nil {
		return indexDamage(err, true)
	}
	from := uint64(0)
	if p := l.published.Load(); p != nil {
		from = p.Size // those before it were repeated then
	}
	if err := l.reapplyErasures(ctx, streams, from, size); err != nil {
		return fmt.Errorf("repeat recorded erasures: %w", err)
	}
	t, err := loadTree(ctx, l.store, &store.State{Raw: true, Size: size}, l.origin)
	if err != nil {
		return fmt.Errorf("load the tree: %w", err)
	}
	if root := t.root(); root != head.Root {
		return wrongRoot(root, head.Root)
	}
	newest, err := l.newestTime(ctx, streams, size)
	if err != nil {
		return err
	}
	if err := l.store.Mark(&store.Checkpoint{Size: size, Signed: signed}); err != nil {
		return fmt.Errorf("mark the checkpoint of size %d as published: %w", size, err)
	}
	for _, s := range streams { // before waiters for the new state wake up
		l.grown.Store(s.StreamID, size)
	}
	old := l.published.Swap(&Published{Size: size, Root: head.Root, Checkpoint: signed, Superseded: make(chan struct{}), edges: t.snapshot(), tiles: l.tiles, tail: receipt.NewProofTail(signed)})
	l.newest.Store(max(newest, l.newest.Load()))
	if old != nil {
		close(old.Superseded)
	}
	if l.cfg.Quorum != nil {
		l.serveWitnessed(head, signed)
	}
	return nil
}

// ImportedState returns the checkpoint and size of the last complete import
// into a replica's store, or size 0 if there is none.
func ImportedState(ctx context.Context, s store.Log) (signed []byte, size uint64, err error) {
	st, err := s.Follow(ctx, 0)
	if err != nil {
		return nil, 0, err
	}
	return lastCheckpoint(ctx, s, st.Size)
}

// newestTime returns the time of the newest entry of the streams.
func (l *Ledger) newestTime(ctx context.Context, streams []store.StreamHead, size uint64) (newest int64, err error) {
	for _, s := range streams {
		list, err := l.store.Postings(ctx, streamTerm(s.StreamID))
		if err != nil {
			return 0, err
		}
		index, ok, err := list.SeekLE(size - 1)
		list.Close()
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		sk, err := l.store.Skeletons(ctx, index, index+1)
		if err != nil {
			return 0, fmt.Errorf("entry %d: %w", index, err)
		}
		newest = max(newest, int64(sk[0].Time))
	}
	return newest, nil
}

// Import adds a delta to an open replica, as the function Import does to a
// store, and publishes its state: calls under way finish with the state they
// began with, and later ones see the new one. The policy of the options is that
// of the replica. An import waits for another one to end.
func (l *Ledger) Import(ctx context.Context, file io.ReaderAt, size int64, o ImportOptions) (*ImportReport, error) {
	if !l.replica {
		return nil, errors.New("this is a log, not a replica: nothing is imported into it")
	}
	select {
	case l.importing <- struct{}{}:
		defer func() { <-l.importing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.tables == nil {
		l.tables = map[entry.Hash]*entry.TagTable{}
	}
	o.Policy, o.tables = l.follows, l.tables
	report, _, err := importFile(ctx, l.store, file, size, o)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // the new state is on disk
	if err := l.publishImported(ctx); err != nil {
		return nil, fmt.Errorf("the delta is imported, but cannot be served: %w", err)
	}
	select {
	case l.purge <- struct{}{}:
	default: // it is about to look anyway
	}
	return report, nil
}

// A Moment is a reading of the ledger's clock.
type Moment struct {
	wall      time.Time
	monotonic time.Duration
}

// Moment returns the present.
func (l *Ledger) Moment() Moment {
	var m Moment
	m.wall, m.monotonic = l.cfg.Clock.Now()
	return m
}

// Earlier returns the moment that was d before this one.
func (m Moment) Earlier(d time.Duration) Moment { return Moment{m.wall.Add(-d), m.monotonic - d} }

// AsOf returns the time up to which the ledger is known to be complete. For a
// log that is now, unless it is not known to be in its latest state. For a
// replica it is the time of its newest entry, or a later one that Confirm was
// given. It is never later than now.
func (l *Ledger) AsOf() time.Time {
	now := l.Moment()
	switch {
	case l.replica:
		return l.knownAt(now).UTC()
	case l.readOnly || l.held() != nil:
		return earlier(millis(l.Published().Time), now.wall).UTC()
	}
	return now.wall.UTC()
}

// Age returns the time that has passed since AsOf.
func (l *Ledger) Age() time.Duration {
	wall, _ := l.cfg.Clock.Now()
	asOf := l.AsOf()
	return max(0, wall.Sub(asOf))
}

// knownAt returns the time up to which a replica is known to be complete.
func (l *Ledger) knownAt(now Moment) time.Time {
	known := earlier(millis(uint64(l.newest.Load())), now.wall)
	c := l.confirmed.Load()
	if c == nil {
		return known
	}
	// The clock may have been corrected since, and monotonic time does not
	// pass while a machine is suspended. The earlier time is never too late.
	confirmed := earlier(c.wall, now.wall.Add(c.monotonic-now.monotonic))
	if confirmed.After(known) {
		return confirmed
	}
	return known
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Confirm notes that the log of this replica had no entry beyond a size at a
// moment. It does nothing if the replica is smaller.
func (l *Ledger) Confirm(size uint64, at Moment) {
	l.importing <- struct{}{}
	defer func() { <-l.importing }()
	if l.Published().Size < size {
		return
	}
	if c := l.confirmed.Load(); c == nil || c.monotonic < at.monotonic {
		l.confirmed.Store(&at)
	}
}

// erase repeats the erasures recorded in the streams, and returns when the
// erased bytes have left the disk.
func erase(ctx context.Context, s store.Store, st *store.State, streams []store.StreamHead) error {
	l := &Ledger{store: s, replica: true, ids: newIdentifier(&st.Secret), log: slog.New(slog.DiscardHandler)}
	if err := l.reapplyErasures(ctx, streams, 0, st.Size); err != nil {
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
// if there is none. A replica has one checkpoint for each delta, none of them
// beyond the limit. There can be a million, so this searches by halves.
func lastCheckpoint(ctx context.Context, s store.Log, limit uint64) (signed []byte, size uint64, err error) {
	for size < limit {
		middle := size + (limit-size+1)/2
		cp, err := s.Checkpoint(ctx, middle) // the first of at least this size
		switch {
		case errors.Is(err, store.ErrNotFound):
			limit = middle - 1
		case err != nil:
			return nil, 0, err
		default:
			signed, size = cp.Signed, cp.Size
		}
	}
	return signed, size, nil
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
