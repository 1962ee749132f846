package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A Ledger is one log. Its methods may be called from many goroutines.
type Ledger struct {
	cfg       Config
	store     store.Store
	raw       bool                           // the entries are raw leaves
	replica   bool                           // see replica.go; with it go the next four fields
	follows   *receipt.TrustPolicy           // of the log that this is a replica of
	newest    atomic.Int64                   // time of a replica's newest entry; Unix milliseconds
	confirmed atomic.Pointer[Moment]         // see Confirm; nil: not yet
	importing chan struct{}                  // capacity 1; full during an import
	tables    map[entry.Hash]*entry.TagTable // of imports, by stream; belongs to the import
	readOnly  bool                           // see readonly.go
	ids       *identifier
	log       *slog.Logger
	origin    entry.OriginHash
	tiles     *tileCache
	known     *known // nil: there is no cache of entries
	keys      *keyFilter
	queue     queue
	clock     *clockGuard

	commitTook atomic.Int64              // by the last commit; nanoseconds
	deciding   atomic.Pointer[time.Time] // begin of the present commit; nil without one
	published  atomic.Pointer[Published] // swapped by the committer or an import only
	// entry.Hash of a stream → uint64, see Grown; written by the committer
	// or an import only
	grown sync.Map
	// entry.Hash of a stream → uint64, see Configured; written by the committer
	// only
	configured     sync.Map
	reserve        atomic.Uint64         // ReserveBytes in force
	failure        atomic.Pointer[error] // set once, when a commit failed
	hold           atomic.Pointer[error] // reason for refusing appends; nil: none
	done           chan struct{}         // closed when the committer has ended, after the sequencer
	purge          chan struct{}         // capacity 1; signals an erasure
	stopBackground context.CancelFunc    // ends runPurge and what background counts
	purged         chan struct{}         // closed when runPurge has ended
	background     sync.WaitGroup        // keys.run and compareClocks

	cosigning sync.Mutex // held to keep a cosigned checkpoint; guards the next field
	// monotonic time of the last witnessed checkpoint that is kept permanently
	keptAt         time.Duration
	witnessed      atomic.Pointer[Witnessed]
	firstWitnessed chan struct{} // closed when witnessed is set for the first time

	rules   sync.Map      // entry.Hash of a stream → Rules, written by the committer only
	free    chan struct{} // sent by the committer before it waits for a batch
	commits chan *batch   // to the committer
	lost    chan *batch   // back from it
	follow  chan struct{} // capacity 1; asks for the commits of other servers
	asking  questions     // for the state of the store

	tip     tip               // belongs to the sequencer
	written *store.Checkpoint // published and not yet in the store; belongs to the committer
}

// Open loads the log from the store, signs its current state again and starts
// the sequencer. It returns an error if the store's entries and its tree head
// disagree.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	cfg.setDefaults()
	st, err := cfg.Store.Follow(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("load the log: %w", err)
	}
	streams, err := cfg.Store.StreamHeads(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the log: %w", indexDamage(err, false))
	}
	l := &Ledger{
		cfg: cfg, store: cfg.Store, raw: st.Raw, origin: entry.HashOrigin(cfg.Signer.Name()), ids: newIdentifier(&st.Secret), log: cfg.Logger,
		done: make(chan struct{}), purge: make(chan struct{}, 1), purged: make(chan struct{}), firstWitnessed: make(chan struct{}),
		free: make(chan struct{}), commits: make(chan *batch), lost: make(chan *batch), follow: make(chan struct{}, 1),
	}
	l.tiles = newTileCache(cfg.Store, cfg.TileCache)
	if l.known, err = newKnown(l, cfg.EntryCache); err != nil {
		return nil, err
	}
	l.keys = newKeyFilter(cfg.Store, filterLayerKeys, cfg.Logger)
	l.clock = newClockGuard(cfg.Clock, st.Size > 0, st.Time, cfg.MaxClockGap)
	reference, shared := cfg.Store.(store.Timekeeper)
	if shared {
		if err := l.clock.compare(ctx, reference); err != nil {
			return nil, err
		}
	}
	l.queue.init(cfg)
	l.reserve.Store(cfg.ReserveBytes)
	if err := l.reapplyErasures(ctx, streams, 0, st.Size); err != nil {
		return nil, fmt.Errorf("repeat recorded erasures: %w", err)
	}
	t, err := loadTree(ctx, cfg.Store, st, l.origin)
	if err != nil {
		return nil, fmt.Errorf("load the tree: %w", err)
	}
	root := t.root()
	if st.Size > 0 && root != st.Root {
		return nil, wrongRoot(root, st.Root)
	}
	l.tip = newTip(t, st, streams)
	if _, err := l.publish(&batch{size: st.Size, root: root, time: st.Time, edges: t.snapshot()}); err != nil {
		return nil, err
	}
	if err := l.loadWitnessed(ctx); err != nil {
		return nil, err
	}
	go func() {
		defer crash.Report()
		l.sequence()
	}()
	go func() {
		defer crash.Report()
		l.commit()
	}()
	if cfg.FollowEvery > 0 {
		go func() {
			defer crash.Report()
			l.followEvery(cfg.FollowEvery)
		}()
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stopBackground = stop
	go func() {
		defer crash.Report()
		l.runPurge(background)
	}()
	l.background.Go(func() {
		defer crash.Report()
		l.keys.run(background)
	})
	if shared {
		l.background.Go(func() {
			defer crash.Report()
			l.compareClocks(background, reference)
		})
	}
	return l, nil
}

// Close completes the queued appends, refuses new ones and ends the sequencer.
// The store stays open.
func (l *Ledger) Close() {
	l.queue.close()
	<-l.done
	l.stopBackground()
	<-l.purged
	l.background.Wait()
}
