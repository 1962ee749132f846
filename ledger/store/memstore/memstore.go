// Package memstore is a storage engine in memory, for tests.
//
// It keeps the contract of package store as simply as possible, and lets a test
// stop or break a commit at the moments that matter. It is not for production:
// nothing is ever written to a disk.
package memstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

var errClosed = errors.New("the store is closed")

// A Store is a store.Store in memory. The hooks may be set before the store is
// used, and be left nil.
type Store struct {
	// BeforeCommit is called before a commit's data shows. If it returns an
	// error, nothing is written and Commit returns the error. It is not called
	// for a commit that is refused with ErrLost.
	BeforeCommit func(*store.Commit) error
	// BeforeReturn is called when a commit's data shows to readers, but is not
	// durable yet. If it blocks, Commit does; if it returns an error, so does
	// Commit, the data stay visible, and Restart comes up without them.
	BeforeReturn func(*store.Commit) error
	// Free is what FreeBytes returns. Without it a disk is never full.
	Free func() (uint64, error)

	readOnly bool
	disk     *disk // of an Engine, or nil

	writing sync.Mutex     // held by Commit and ReplaceProjections
	reads   sync.WaitGroup // reads and writes under way

	mu      sync.RWMutex // guards what follows
	closed  bool
	t       *tables
	changes []func(*tables) // that made t, in order; the first durable ones survive Restart
	durable int
	synced  store.State // after the durable changes
	secret  [32]byte
	raw     bool                        // never changes
	written map[[16]byte]*payloadWriter // large payloads that no commit has named yet
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return newStore(false) }

// NewRaw returns an empty store of a raw log.
func NewRaw() *Store { return newStore(true) }

func newStore(raw bool) *Store {
	s := &Store{t: newTables(), raw: raw, written: map[[16]byte]*payloadWriter{}}
	rand.Read(s.secret[:]) // never fails: see crypto/rand
	return s
}

// Restart returns a store that holds what s would hold after a loss of power:
// the commits that returned nil. The hooks are not taken over. It closes s
// without waiting for anything, as a crash would.
func (s *Store) Restart() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	r := &Store{t: newTables(), raw: s.raw, written: map[[16]byte]*payloadWriter{}, secret: s.secret, durable: s.durable, changes: slices.Clone(s.changes[:s.durable])}
	for _, change := range r.changes {
		change(r.t)
	}
	r.synced = r.t.state()
	return r
}

// Follow implements store.Store.
func (s *Store) Follow(ctx context.Context, from uint64) (*store.State, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.synced
	st.Raw, st.Secret = s.raw, s.secret
	return &st, st.CheckFrom(from)
}

// StreamHeads implements store.Store.
func (s *Store) StreamHeads(ctx context.Context) ([]store.StreamHead, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.t.heads)), nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, c *store.Commit) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	size, there := s.t.size, s.t.ids[c.From]
	s.mu.RUnlock()
	if c.From < size && there == c.ID && c.ID != [16]byte{} { // proposed again
		s.sync()
		return nil
	}
	if c.From != size {
		return fmt.Errorf("commit at %d of a log of size %d: %w", c.From, size, store.ErrLost)
	}
	if c.Len() == 0 {
		return fmt.Errorf("commit at %d: no entries", c.From)
	}
	if err := c.CheckKind(s.raw); err != nil {
		return err
	}
	if err := store.CheckErasures(c.Erase, c.From); err != nil {
		return err
	}
	kept := clone(c)
	if err := s.takeLarge(kept); err != nil {
		return err
	}
	if s.BeforeCommit != nil {
		if err := s.BeforeCommit(c); err != nil {
			return err
		}
	}
	s.change(func(t *tables) { t.commit(kept) })
	if s.BeforeReturn != nil {
		if err := s.BeforeReturn(c); err != nil {
			return err
		}
	}
	s.sync()
	return nil
}

// ReplaceProjections implements store.Store.
func (s *Store) ReplaceProjections(ctx context.Context, p iter.Seq2[store.Projection, error], heads []store.StreamHead) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	var keys []store.KeyAt
	var postings []store.PostingAt
	var facts []store.FactsAt
	for v, err := range p {
		switch {
		case err != nil:
			return err
		case v.Key != nil:
			keys = append(keys, *v.Key)
		case v.Posting != nil:
			postings = append(postings, *v.Posting)
		case v.Facts != nil:
			facts = append(facts, store.FactsAt{Index: v.Facts.Index, Facts: slices.Clone(v.Facts.Facts)})
		}
	}
	heads = slices.Clone(heads)
	s.change(func(t *tables) {
		clear(t.keys)
		clear(t.postings)
		clear(t.facts)
		clear(t.heads)
		t.project(keys, postings, facts, heads)
	})
	s.sync()
	return nil
}

// ReplaceTiles implements store.Store.
func (s *Store) ReplaceTiles(ctx context.Context, tiles []store.Tile) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	kept := make([]store.Tile, len(tiles))
	for i, t := range tiles {
		kept[i] = store.Tile{Level: t.Level, Index: t.Index, Hashes: slices.Clone(t.Hashes)}
	}
	s.change(func(t *tables) {
		for _, tile := range kept {
			t.tiles[tileID{tile.Level, tile.Index}] = tile.Hashes
		}
	})
	s.sync()
	return nil
}

// EraseHeader erases the header opening of an entry, as if it had never been
// given.
func (s *Store) EraseHeader(index uint64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.change(func(t *tables) { t.headers[index] = nil })
	s.sync()
}

// ErasePayload erases the payload opening of an entry, as if it had never been
// given.
func (s *Store) ErasePayload(index uint64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.change(func(t *tables) { t.payloads[index] = nil })
	s.sync()
}

// change makes a change that shows at once and is durable after the next sync.
func (s *Store) change(f func(*tables)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, f)
	f(s.t)
}

func (s *Store) sync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = len(s.changes)
	s.synced = s.t.state()
}

// Tile implements store.Store.
func (s *Store) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	hashes, ok := s.t.tiles[tileID{level, index}]
	if !ok {
		return nil, fmt.Errorf("tile %d of level %d: %w", index, level, store.ErrNotFound)
	}
	return slices.Clone(hashes), nil
}

// Skeletons implements store.Store.
func (s *Store) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from >= to {
		return nil, nil
	}
	if to > uint64(len(s.t.skeletons)) || s.raw && s.t.noRecord(from, to) {
		return nil, fmt.Errorf("skeletons %d to %d: %w", from, to, store.ErrNotFound)
	}
	return slices.Clone(s.t.skeletons[from:to]), nil
}

// Leaves implements store.Store.
func (s *Store) Leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if from >= to {
		return nil, nil
	}
	if to > uint64(len(s.t.leaves)) {
		return nil, fmt.Errorf("leaves %d to %d: %w", from, to, store.ErrNotFound)
	}
	out := make([][]byte, 0, to-from)
	for _, leaf := range s.t.leaves[from:to] {
		out = append(out, slices.Clone(leaf))
	}
	return out, nil
}

// Header implements store.Store.
func (s *Store) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if index >= uint64(len(s.t.headers)) || s.raw && s.t.noRecord(index, index+1) {
		return nil, fmt.Errorf("header %d: %w", index, store.ErrNotFound)
	}
	return cloneHeader(s.t.headers[index]), nil
}

// Payload implements store.Store.
func (s *Store) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if index >= uint64(len(s.t.payloads)) || s.raw && s.t.noRecord(index, index+1) {
		return nil, fmt.Errorf("payload %d: %w", index, store.ErrNotFound)
	}
	p := clonePayload(s.t.payloads[index])
	if p != nil && s.t.large[index] {
		p.Content = nil
	}
	return p, nil
}

// Checkpoint implements store.Store.
func (s *Store) Checkpoint(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return atLeast(s.t.checkpoints, minSize)
}

// KeepCosigned implements store.Store.
func (s *Store) KeepCosigned(ctx context.Context, c *store.Checkpoint, instead uint64) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	// sync makes all changes durable, and must not do so for a commit that has
	// not returned
	s.writing.Lock()
	defer s.writing.Unlock()
	kept := store.Checkpoint{Size: c.Size, Signed: slices.Clone(c.Signed)}
	s.change(func(t *tables) {
		t.cosigned = slices.DeleteFunc(t.cosigned, func(c store.Checkpoint) bool { return c.Size == instead })
		t.cosigned = putBySize(t.cosigned, kept)
	})
	s.sync()
	return nil
}

// Cosigned implements store.Store.
func (s *Store) Cosigned(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return atLeast(s.t.cosigned, minSize)
}

// LastCosigned implements store.Store.
func (s *Store) LastCosigned(ctx context.Context) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.t.cosigned) == 0 {
		return nil, fmt.Errorf("last cosigned checkpoint: %w", store.ErrNotFound)
	}
	return atLeast(s.t.cosigned, s.t.cosigned[len(s.t.cosigned)-1].Size)
}

func atLeast(list []store.Checkpoint, minSize uint64) (*store.Checkpoint, error) {
	i, _ := slices.BinarySearchFunc(list, minSize, bySize)
	if i == len(list) {
		return nil, fmt.Errorf("checkpoint of size %d or more: %w", minSize, store.ErrNotFound)
	}
	return &store.Checkpoint{Size: list[i].Size, Signed: slices.Clone(list[i].Signed)}, nil
}

// Lookup implements store.Store.
func (s *Store) Lookup(ctx context.Context, k store.Key) (uint64, error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.t.keys[k]
	if !ok {
		return 0, fmt.Errorf("key %x: %w", k, store.ErrNotFound)
	}
	return i, nil
}

// Facts implements store.Store.
func (s *Store) Facts(ctx context.Context, index uint64) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	facts, ok := s.t.facts[index]
	if !ok {
		return nil, fmt.Errorf("facts of entry %d: %w", index, store.ErrNotFound)
	}
	return slices.Clone(facts), nil
}

// KeyFilter implements store.Store. The filter is exact.
func (s *Store) KeyFilter(ctx context.Context) (store.KeyFilter, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.reads.Done()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return keyFilter(maps.Clone(s.t.keys)), nil
}

type keyFilter map[store.Key]uint64

// MayHave implements store.KeyFilter.
func (f keyFilter) MayHave(k *store.Key) bool {
	_, ok := f[*k]
	return ok
}

// Postings implements store.Store. The list does not show commits made after it
// was opened.
func (s *Store) Postings(ctx context.Context, t store.Term) (store.Postings, error) {
	if err := s.enter(); err != nil { // left by Close of the list
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &list{indexes: slices.Clone(s.t.postings[t]), done: s.reads.Done}, nil
}

// Projections implements store.Store.
func (s *Store) Projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		if err := s.enter(); err != nil {
			yield(store.Projection{}, err)
			return
		}
		defer s.reads.Done()
		for _, p := range s.projections() {
			if err := ctx.Err(); err != nil {
				yield(store.Projection{}, err)
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// projections copies all, so that the loop over them holds no lock and may call
// the store.
func (s *Store) projections() []store.Projection {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []store.Projection
	for k, i := range s.t.keys {
		out = append(out, store.Projection{Key: &store.KeyAt{Key: k, Index: i}})
	}
	slices.SortFunc(out, func(a, b store.Projection) int { return slices.Compare(a.Key.Key[:], b.Key.Key[:]) })
	keys := len(out)
	for t, indexes := range s.t.postings {
		for _, i := range indexes {
			out = append(out, store.Projection{Posting: &store.PostingAt{Term: t, Index: i}})
		}
	}
	slices.SortFunc(out[keys:], func(a, b store.Projection) int {
		return cmp.Or(slices.Compare(a.Posting.Term[:], b.Posting.Term[:]), cmp.Compare(a.Posting.Index, b.Posting.Index))
	})
	for _, index := range slices.Sorted(maps.Keys(s.t.facts)) {
		out = append(out, store.Projection{Facts: &store.FactsAt{Index: index, Facts: slices.Clone(s.t.facts[index])}})
	}
	return out
}

// Mark implements store.Store. What is marked is durable: the store loses
// nothing.
func (s *Store) Mark(c *store.Checkpoint) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.reads.Done()
	if s.disk != nil {
		s.disk.publish(c.Signed)
	}
	return nil
}

// FreeBytes implements store.Store.
func (s *Store) FreeBytes() (uint64, error) {
	if s.Free != nil {
		return s.Free()
	}
	return math.MaxInt64, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.reads.Wait()
	if first && s.disk != nil {
		s.disk.release()
	}
	return nil
}

// enter counts an operation that Close waits for. A caller that got nil must
// call reads.Done.
func (s *Store) enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errClosed
	}
	s.reads.Add(1)
	return nil
}

// enterWrite is enter for a write.
func (s *Store) enterWrite() error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	return s.enter()
}
