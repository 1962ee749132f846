// Package ledger sequences entries into an append-only Merkle log and serves
// what is published of it.
//
// It knows streams, headers and payloads, but not tenants, tokens or formats of
// evidence: packages api and ingest know these.
//
// # The write path
//
// This file is the way of an entry, in the order in which it goes:
//
//	Append      in the caller's goroutine: hash the header, look for the same
//	            submission, join the queue
//	queue       what waits; bounded
//	sequence    in the one sequencer goroutine: take all that waits, assign
//	            seq, prev and time, hash, extend the tree
//	Commit      one atomic, durable commit of the store, with the unsigned tree head
//	sign        the checkpoint of the new tree
//	mark        record the checkpoint in the store, so that the store never
//	            opens again without it
//	publish     swap the published state in memory
//	wake        the callers, who make their receipts in parallel
//
// A batch is whatever waited while the one before was committed; there is no
// timer.
//
// # The published state
//
// Commit, then sign, then mark, then publish. Every read goes through one
// [Published] and never past it, because a store may show a commit to readers
// before it is durable: a proof about such a state could contradict the log
// after a crash.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

var (
	// ErrQueueFull says that too many entries wait to be sequenced. Retry after
	// a while.
	ErrQueueFull = errors.New("too many entries are waiting to be written; retry later")
	// ErrDiskFull says that the disk's free-space reserve is reached. Reads go
	// on; appends start again when there is room.
	ErrDiskFull = errors.New("the disk is nearly full")
	// ErrClock says that the system clock can't be trusted to date entries.
	ErrClock = errors.New("the clock can't be trusted")
	// ErrFailed says that a commit failed before. The process should have
	// ended; a restart reopens what is there.
	ErrFailed = errors.New("a write to the store failed; the server must be restarted")
	// ErrClosed says that the ledger is shutting down.
	ErrClosed = errors.New("the ledger is shutting down")
	// ErrKeyReused says that an idempotency key was used before with another
	// request.
	ErrKeyReused = errors.New("this idempotency key was used with another request")
	// ErrNotFound says that the stream has no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrOutOfRange says that an index or size is beyond the published log.
	ErrOutOfRange = errors.New("beyond the published log")
	// ErrNoCheckpoint says that no checkpoint of the size was published.
	ErrNoCheckpoint = errors.New("no checkpoint of that size was published")
	// ErrErased says that what was asked for can't be made because of an
	// erasure.
	ErrErased = errors.New("erased")
	// ErrPageToken says that a page token is malformed or belongs to another
	// query.
	ErrPageToken = errors.New("not a page token of this query")
)

// A Config says how a ledger works. Store, Signer and Fatal are required.
type Config struct {
	Store  store.Store
	Signer note.Signer // Ed25519; its name is the log's origin
	// Overlap are further keys of the log that sign every checkpoint, too,
	// while the log's key is being changed.
	Overlap []note.Signer
	// Fatal ends the process after a failed commit: the state of the disk is
	// unknown then. If it returns (in tests), the ledger takes no more appends.
	Fatal func(error)

	// Quorum says whether the signatures of a checkpoint meet the policies that
	// the log is to be verified by. Nil: the log's own signature is enough.
	Quorum func(signed []byte) error
	// WitnessedEvery is the time between witnessed checkpoints that are kept
	// for ever, so that they don't outweigh the entries of a busy log; 0: 10 s.
	WitnessedEvery time.Duration

	Logger *slog.Logger
	Clock  Clock

	// of one stream in the queue, and half of what all may have; 0: 8,192
	MaxPendingEntries int
	MaxPendingBytes   int64  // the same, in header and payload bytes; 0: 256 MiB
	MaxPendingRows    int    // the same, in rows of the index; 0: 262,144
	MaxBatchEntries   int    // bound of one commit; 0: 4,096
	MaxBatchRows      int    // bound of one commit, unless one call has more; 0: 16,384
	MaxBatchBytes     int64  // bound of one commit, unless one entry is larger; 0: 64 MiB
	ReserveBytes      uint64 // appends are refused when less is free on the disk
	// longest believable time since the last entry, at start; 0: 366 days
	MaxClockGap time.Duration
	TileCache   int // full tiles kept in memory, 16 KiB each; 0: 4,096

	Observe Observer // may be zero
}

// An Observer is told what happens. Its functions must be quick; nil ones are
// not called.
type Observer struct {
	// Committed is called after each commit with its entries and how long
	// commit and signature took.
	Committed func(entries int, commit, sign time.Duration)
	// Recorded is called for each stream that got entries by a commit, with
	// their number and the bytes of their payloads, before the callers are
	// answered, whether they have gone or not. It is called for entries that
	// the log itself writes, too.
	Recorded func(stream entry.Hash, entries int, bytes int64)
	// Refused is called for each entry that was not taken, with the sentinel
	// error.
	Refused func(reason error)
}

// A Stream is a tenant's chain of entries.
type Stream struct {
	Key entry.StreamKey
	ID  entry.Hash
}

// NewStream returns the stream of the key.
func NewStream(key entry.StreamKey) *Stream { return &Stream{Key: key, ID: key.StreamID()} }

// A Ledger is one log. Its methods may be called from many goroutines.
type Ledger struct {
	cfg      Config
	store    store.Store
	raw      bool // the entries are raw leaves
	replica  bool // see replica.go
	readOnly bool // see readonly.go
	ids      *identifier
	log      *slog.Logger
	origin   entry.OriginHash
	tiles    *tileCache
	keys     *keyFilter
	queue    queue
	clock    *clockGuard

	published atomic.Pointer[Published] // swapped by the sequencer only
	// entry.Hash of a stream → uint64, see Grown; written by the sequencer
	// only
	grown     sync.Map
	reserve   atomic.Uint64         // ReserveBytes in force
	failure   atomic.Pointer[error] // set once, when a commit failed
	hold      atomic.Pointer[error] // why appends are refused
	done      chan struct{}         // closed when the sequencer has ended
	purge     chan struct{}         // capacity 1; gets a signal when something was erased
	stopPurge context.CancelFunc    // ends runPurge
	purged    chan struct{}         // closed when it has ended

	cosigning sync.Mutex // held to keep a cosigned checkpoint; guards the next field
	// monotonic time when the last witnessed checkpoint was kept that stays
	keptAt         time.Duration
	witnessed      atomic.Pointer[Witnessed]
	firstWitnessed chan struct{} // closed when witnessed is set for the first time

	// The rest belongs to the sequencer goroutine.
	tree    *tree
	heads   map[entry.Hash]*head
	recent  recentKeys
	written *store.Checkpoint // published and not yet in the store
}

// A head is the end of a stream.
type head struct {
	store.StreamHead
	tag   *tagger
	dirty bool // in the batch being sequenced
}

// Open loads the log from the store, signs its current state again and starts
// the sequencer. It returns an error if the store's entries and its tree head
// disagree.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	cfg.setDefaults()
	st, err := cfg.Store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the log: %w", err)
	}
	l := &Ledger{cfg: cfg, store: cfg.Store, raw: st.Raw, origin: entry.HashOrigin(cfg.Signer.Name()), ids: newIdentifier(&st.Secret), log: cfg.Logger, done: make(chan struct{}), purge: make(chan struct{}, 1), purged: make(chan struct{}), firstWitnessed: make(chan struct{}), heads: make(map[entry.Hash]*head, len(st.Streams))}
	l.tiles = newTileCache(cfg.Store, cfg.TileCache)
	l.clock = newClockGuard(cfg.Clock, st.Size > 0, st.Time, cfg.MaxClockGap)
	l.queue.init(cfg)
	l.reserve.Store(cfg.ReserveBytes)
	l.recent.init(st.Size)
	for _, h := range st.Streams {
		l.heads[h.StreamID] = &head{StreamHead: h}
	}
	if err := l.reapplyErasures(ctx, st); err != nil {
		return nil, fmt.Errorf("make recorded erasures again: %w", err)
	}
	if l.keys, err = loadKeyFilter(ctx, cfg.Store, st.Size); err != nil {
		return nil, fmt.Errorf("load the deduplication keys: %w", err)
	}
	if l.tree, err = loadTree(ctx, cfg.Store, st, l.origin, l.tiles); err != nil {
		return nil, fmt.Errorf("load the tree: %w", err)
	}
	root := l.tree.root()
	if st.Size > 0 && root != st.Root {
		return nil, wrongRoot(root, st.Root)
	}
	if _, err := l.publish(root, st.Time); err != nil {
		return nil, err
	}
	if err := l.loadWitnessed(ctx); err != nil {
		return nil, err
	}
	go l.run()
	purging, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stopPurge = stop
	go l.runPurge(purging)
	return l, nil
}

func (c *Config) setDefaults() {
	def(&c.MaxPendingEntries, 8192)
	def(&c.MaxPendingBytes, 256<<20)
	def(&c.MaxPendingRows, 256<<10)
	def(&c.MaxBatchEntries, 4096)
	def(&c.MaxBatchRows, 16<<10)
	def(&c.MaxBatchBytes, 64<<20)
	def(&c.MaxClockGap, 366*24*time.Hour)
	def(&c.TileCache, 4096)
	def(&c.WitnessedEvery, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = SystemClock()
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// A Draft is an entry that lacks only its place in the log.
type Draft struct {
	Stream   *Stream
	LinkSalt entry.Salt
	Header   *entry.Header         // what Opening.Content says
	Opening  receipt.HeaderOpening // header bytes and their salt
	Payload  receipt.PayloadOpening
	// finished, and holds the payload's content, which Payload then lacks; nil
	// if it is not large
	Large *Spool
	Erase *Erasure // of an earlier entry of the stream, which this entry records; nil for none
}

// A Result is what became of a draft.
type Result struct {
	Index     uint64
	Duplicate bool   // recorded before; Index and Receipt are the first entry's
	Receipt   []byte // JSON, in the form detached
	// ErrKeyReused, and nothing was recorded; or the receipt could not be made,
	// and can be asked for later
	Err error
}

// Append records the drafts, in their order, in one batch, and returns when
// they are durable and published. The error is for all of them: one of the
// sentinels above, or the context's; with the latter nothing was recorded.
// Doing the same again is harmless.
func (l *Ledger) Append(ctx context.Context, drafts []Draft) ([]Result, error) {
	if err := l.mayAppend(); err != nil {
		return nil, err
	}
	g := newGroup(len(drafts))
	for i := range drafts {
		if err := g.entries[i].prepare(l.ids, &drafts[i]); err != nil {
			return nil, err
		}
		if drafts[i].Large != nil {
			// its owner discards it when this returns, and may not while it
			// waits to be committed
			ctx = context.WithoutCancel(ctx)
		}
	}
	if err := l.record(ctx, g); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // what is recorded is answered
	results := make([]Result, len(drafts))
	for i := range results {
		l.answer(ctx, g, i, &results[i])
	}
	return results, nil
}

// mayAppend returns why a log takes no drafts at all.
func (l *Ledger) mayAppend() error {
	if f := l.failure.Load(); f != nil {
		return *f
	}
	if l.replica {
		return ErrReplica
	}
	if l.raw {
		return errRaw
	}
	if l.readOnly {
		return l.held()
	}
	return nil
}

// record returns when the group's entries are published: those that are new,
// and those that were before.
func (l *Ledger) record(ctx context.Context, g *group) error {
	fresh := 0
	for i := range g.entries {
		p := &g.entries[i]
		if err := l.lookup(ctx, p); err != nil {
			return err
		}
		if !p.existing {
			fresh++
			g.bytes += p.size()
			g.rows += len(p.terms) + 1
		}
	}
	if fresh == 0 { // nothing to write, so it is answered even when appends are refused
		g.published = l.published.Load()
	} else if err := l.held(); err != nil {
		l.observeRefused(err, fresh)
		return err
	} else if err := l.await(ctx, g); err != nil {
		l.observeRefused(err, fresh)
		return err
	}
	return nil
}

func (l *Ledger) observeRefused(err error, n int) {
	if l.cfg.Observe.Refused != nil {
		for range n {
			l.cfg.Observe.Refused(err)
		}
	}
}

// A pending entry is a draft, or a raw leaf, on its way through the queue.
type pending struct {
	draft      *Draft
	leaf       []byte // of a raw log, which has no drafts
	headerHash entry.Hash
	key        store.Key
	terms      []store.Term
	checked    uint64 // no entry below this index has the key

	// Written by the sequencer before it closes the group's done.
	existing bool
	index    uint64
	skeleton entry.Skeleton // not set if existing
}

// A group is what one call of Append waits for.
type group struct {
	entries   []pending
	order     uint64 // in which the queue got it
	bytes     int64
	rows      int // of the index and of deduplication keys
	done      chan struct{}
	published *Published // set before done is closed, if err is nil
	err       error
}

func newGroup(entries int) *group {
	return &group{entries: make([]pending, entries), done: make(chan struct{})}
}

func (p *pending) prepare(ids *identifier, d *Draft) error {
	p.draft = d
	p.headerHash = entry.HeaderHash(d.Opening.Salt, d.Opening.Content)
	p.terms = headerTerms(d.Stream.ID, d.Header)
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
	return int64(len(p.draft.Opening.Content) + len(p.draft.Payload.Content))
}

// lookup looks for the same submission among the published entries, so that the
// sequencer need only look at those since.
func (l *Ledger) lookup(ctx context.Context, p *pending) error {
	pub := l.published.Load()
	if !l.keys.mayHave(p.key) {
		p.checked = pub.Size // whatever is published was put into the filter before
		return nil
	}
	index, err := l.store.Lookup(ctx, p.key)
	switch {
	case err == nil && index < pub.Size:
		p.existing, p.index = true, index
	case err == nil || errors.Is(err, store.ErrNotFound):
		p.checked = pub.Size // an index beyond it may come from a commit that isn't durable yet
	default:
		return fmt.Errorf("look for a duplicate: %w", err)
	}
	return nil
}

// await puts the group into the queue and waits until it is published.
func (l *Ledger) await(ctx context.Context, g *group) error {
	if err := l.queue.put(g); err != nil {
		return err
	}
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
	}
	// It is recorded or it is not, and the caller gets to see which. One that
	// is in a batch is waited for.
	if l.queue.remove(g) {
		return fmt.Errorf("wait for the commit: %w; nothing was recorded", ctx.Err())
	}
	<-g.done
	return g.err
}

// run is the sequencer.
func (l *Ledger) run() {
	defer close(l.done)
	for {
		groups := l.queue.take()
		if groups == nil {
			return
		}
		begun := time.Now()
		pub, err := l.sequence(groups)
		l.queue.committed(groups, time.Since(begun))
		for _, g := range groups {
			g.published, g.err = pub, err
			close(g.done)
		}
	}
}

// sequence gives the groups' entries their places, commits them and publishes
// the result. After an error nothing was recorded, or the ledger has failed.
func (l *Ledger) sequence(groups []*group) (*Published, error) {
	if f := l.failure.Load(); f != nil {
		return nil, *f
	}
	if err := l.checkSpace(); err != nil {
		return nil, err
	}
	prev := l.published.Load()
	now, err := l.clock.next(prev.Time)
	if err != nil {
		return nil, err
	}
	c := newCommit(prev.Size, l.written, groups)
	l.recent.startBatch(prev.Size)
	var touched []*head
	for _, g := range groups {
		for i := range g.entries {
			p := &g.entries[i]
			if err := l.resolve(p, c.Erase); err != nil {
				l.fail(fmt.Errorf("look for a duplicate: %w", err))
				return nil, ErrFailed
			}
			if p.existing {
				continue
			}
			if l.raw {
				l.placeLeaf(c, p, now)
				continue
			}
			h := l.head(p.draft.Stream)
			if !h.dirty {
				h.dirty = true
				touched = append(touched, h)
			}
			l.place(c, p, h, now)
		}
	}
	if len(c.Entries) == 0 {
		return prev, nil
	}
	for _, h := range touched {
		h.dirty = false
		c.Heads = append(c.Heads, h.StreamHead)
	}
	c.Tiles = l.tree.takeFull()
	c.Root = l.tree.root()
	start := time.Now()
	if err := l.store.Commit(context.Background(), c); err != nil {
		l.fail(fmt.Errorf("commit entries %d to %d: %w", c.From, c.From+uint64(len(c.Entries))-1, err))
		return nil, ErrFailed
	}
	committed := time.Now()
	if len(c.Erase) > 0 {
		select {
		case l.purge <- struct{}{}:
		default: // there is a signal already
		}
	}
	pub, err := l.publish(c.Root, now, touched...)
	if err != nil {
		l.fail(err)
		return nil, ErrFailed
	}
	l.observeRecorded(groups)
	if l.cfg.Observe.Committed != nil {
		l.cfg.Observe.Committed(len(c.Entries), committed.Sub(start), time.Since(committed))
	}
	return pub, nil
}

// observeRecorded reports the new entries of the groups.
func (l *Ledger) observeRecorded(groups []*group) {
	if l.cfg.Observe.Recorded == nil || l.raw {
		return
	}
	type sum struct {
		entries int
		bytes   int64
	}
	sums := map[entry.Hash]sum{}
	for _, g := range groups {
		for i := range g.entries {
			if p := &g.entries[i]; !p.existing {
				s := sums[p.draft.Stream.ID]
				s.entries++
				s.bytes += int64(p.draft.Header.Payload.Size)
				sums[p.draft.Stream.ID] = s
			}
		}
	}
	for stream, s := range sums {
		l.cfg.Observe.Recorded(stream, s.entries, s.bytes)
	}
}

// newCommit returns an empty commit with room for the groups' entries.
func newCommit(from uint64, written *store.Checkpoint, groups []*group) *store.Commit {
	entries, terms := 0, 0
	for _, g := range groups {
		entries += len(g.entries)
		for i := range g.entries {
			terms += len(g.entries[i].terms)
		}
	}
	return &store.Commit{
		From: from, Checkpoint: written,
		Entries: make([]store.Entry, 0, entries), Keys: make([]store.KeyAt, 0, entries), Postings: make([]store.PostingAt, 0, terms),
	}
}

// resolve finds the entry that has the same key, if there is one: among those
// of this and recent batches, or, if the pending entry waited long, in the
// store, where all that is there is published by now.
//
// An entry that this very batch erases is not found.
func (l *Ledger) resolve(p *pending, erasing []store.Erasure) error {
	if p.existing {
		return nil
	}
	index, found := l.recent.find(p.key)
	if !found && p.checked < l.recent.from && l.keys.mayHave(p.key) {
		var err error
		index, err = l.store.Lookup(context.Background(), p.key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		found = err == nil
	}
	if found && !slices.ContainsFunc(erasing, func(e store.Erasure) bool { return e.Index == index }) {
		p.index, p.existing = index, true
	}
	return nil
}

func (l *Ledger) head(s *Stream) *head {
	h := l.heads[s.ID]
	if h == nil {
		h = &head{StreamHead: store.StreamHead{StreamID: s.ID}}
		l.heads[s.ID] = h
	}
	if h.tag == nil {
		h.tag = newTagger(&s.Key)
	}
	return h
}

// place puts the entry at the end of its stream and of the log.
func (l *Ledger) place(c *store.Commit, p *pending, h *head, now uint64) {
	p.index = c.From + uint64(len(c.Entries))
	p.skeleton = entry.Skeleton{
		Tag: h.tag.tag(h.Next), LinkSalt: p.draft.LinkSalt, StreamID: h.StreamID, Seq: h.Next, Prev: h.Last, Time: now, HeaderHash: p.headerHash,
	}
	leaf := p.skeleton.LeafHash(l.origin)
	h.Next++
	h.Last = leaf
	l.tree.append(leaf)
	l.recent.add(p.key, p.index)
	l.keys.add(p.key)
	e := store.Entry{Skeleton: p.skeleton, Header: p.draft.Opening, Payload: p.draft.Payload}
	if p.draft.Large != nil {
		e.Large = &p.draft.Large.finished
	}
	c.Entries = append(c.Entries, e)
	if p.draft.Erase != nil {
		c.Erase = append(c.Erase, p.draft.Erase.erase)
		for _, k := range p.draft.Erase.erase.Keys {
			l.recent.remove(k, p.draft.Erase.Index)
		}
	}
	c.Keys = append(c.Keys, store.KeyAt{Key: p.key, Index: p.index})
	for _, t := range p.terms {
		c.Postings = append(c.Postings, store.PostingAt{Term: t, Index: p.index})
	}
}

// publish signs the tree as it is now, which must be durable, marks it, and
// makes it the published state.
func (l *Ledger) publish(root entry.Hash, time uint64, touched ...*head) (*Published, error) {
	cp := receipt.Checkpoint{Origin: l.cfg.Signer.Name(), Size: l.tree.size, Root: root}
	signed, err := cp.Sign(append([]note.Signer{l.cfg.Signer}, l.cfg.Overlap...)...)
	if err != nil {
		return nil, fmt.Errorf("sign the checkpoint of size %d: %w", cp.Size, err)
	}
	if err := l.store.Mark(&store.Checkpoint{Size: cp.Size, Signed: signed}); err != nil {
		return nil, fmt.Errorf("mark the checkpoint of size %d as published: %w", cp.Size, err)
	}
	p := &Published{Size: cp.Size, Root: root, Time: time, Checkpoint: signed, Superseded: make(chan struct{}), edges: l.tree.snapshot(), tiles: l.tiles, tail: receipt.NewProofTail(signed)}
	for _, h := range touched { // before anything that waits for the new state wakes up
		l.grown.Store(h.StreamID, p.Size)
	}
	old := l.published.Swap(p)
	if cp.Size > 0 {
		l.written = &store.Checkpoint{Size: cp.Size, Signed: signed}
	}
	if old != nil {
		close(old.Superseded)
	}
	return p, nil
}

// answer makes the result of entry i of a published group.
func (l *Ledger) answer(ctx context.Context, g *group, i int, r *Result) {
	p := &g.entries[i]
	r.Index, r.Duplicate = p.index, p.existing
	if p.existing {
		same, err := l.compare(ctx, p)
		switch {
		case err != nil:
			r.Err = fmt.Errorf("compare with entry %d: %w", p.index, err)
		case !same:
			r.Err = fmt.Errorf("%w, recorded as entry %d; use another key for another event", ErrKeyReused, p.index)
		default:
			r.Receipt, r.Err = l.Receipt(ctx, p.draft.Stream, p.index, ReceiptOptions{})
		}
		return
	}
	r.Receipt, r.Err = g.published.receipt(ctx, p.index, g.published.Size, &g.published.tail, &receipt.Receipt{
		Form: receipt.Detached, Tag: p.skeleton.Tag, Time: p.skeleton.Time,
		Link:    &receipt.LinkOpening{Salt: p.skeleton.LinkSalt, StreamID: p.skeleton.StreamID, Seq: p.skeleton.Seq, Prev: p.skeleton.Prev},
		Header:  &p.draft.Opening,
		Payload: &receipt.PayloadOpening{Salt: p.draft.Payload.Salt},
	})
}

func (l *Ledger) fail(err error) {
	l.log.Error("the log can't go on", "err", err)
	failure := fmt.Errorf("%w (%w)", ErrFailed, err)
	l.failure.Store(&failure)
	l.cfg.Fatal(failure)
}

// SetLimits replaces MaxPendingEntries and ReserveBytes while the ledger is
// open. What waits already stays in the queue.
func (l *Ledger) SetLimits(pendingEntries int, reserveBytes uint64) {
	l.queue.setMaxEntries(pendingEntries)
	l.reserve.Store(reserveBytes)
}

func (l *Ledger) checkSpace() error { return l.checkSpaceFor(0) }

// checkSpaceFor says whether the reserve would be left after so many bytes
// more.
func (l *Ledger) checkSpaceFor(bytes uint64) error {
	free, err := l.store.FreeBytes()
	if err != nil {
		return fmt.Errorf("%w: its free space can't be read: %w", ErrDiskFull, err)
	}
	reserve := l.reserve.Load()
	if free < reserve || free-reserve < bytes {
		return fmt.Errorf("%w: %d MiB are free, of which %d MiB are kept in reserve, and %d MiB more are needed; make room, appends then go on by themselves",
			ErrDiskFull, free>>20, reserve>>20, bytes>>20)
	}
	return nil
}

// Ready returns nil if appends would be taken, and else why not. A replica,
// which takes none, is ready to be read.
func (l *Ledger) Ready() error {
	if f := l.failure.Load(); f != nil {
		return *f
	}
	if l.replica {
		return nil
	}
	if l.queue.isClosed() {
		return ErrClosed
	}
	if err := l.held(); err != nil {
		return err
	}
	if err := l.checkSpace(); err != nil {
		return err
	}
	_, err := l.clock.next(l.published.Load().Time)
	return err
}

// Grown returns the size of the log when the stream last got entries since the
// log was opened, and 0 if it got none.
func (l *Ledger) Grown(stream entry.Hash) uint64 {
	size, _ := l.grown.Load(stream)
	n, _ := size.(uint64)
	return n
}

// Pending returns how many entries wait to be sequenced.
func (l *Ledger) Pending() int { return l.queue.len() }

// PendingRows returns how many rows of the index those entries will have.
func (l *Ledger) PendingRows() int { return l.queue.pendingRows() }

// Close finishes the appends that are waiting, takes no more, and ends the
// sequencer. The store stays open.
func (l *Ledger) Close() {
	l.queue.close()
	<-l.done
	l.stopPurge()
	<-l.purged
}
