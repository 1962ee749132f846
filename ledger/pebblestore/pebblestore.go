// Package pebblestore is the embedded storage engine: a store.Store in one
// folder of a local disk.
//
// It keeps its rows in [Pebble], a log-structured merge tree. A commit is one
// batch, written to Pebble's write-ahead log and synced. Rows of an entry's
// index are only ever added at the end of their keyspace, and large values go
// to blob files that compactions don't rewrite, so that the cost of a commit
// does not grow with the log. The rows are described in keys.go and rows.go.
//
// It is not for sharing: one process has the folder open, and another one is
// refused.
//
// [Pebble]: https://github.com/cockroachdb/pebble
package pebblestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// formatVersion is the newest version of the rows. A store of another one is
// refused.
//
//	4  a log of streams, of entry format 2 (docs/spec/entry.md)
//	5  the same, or with rawKey a raw log
//	6  the same, and large payloads
//	7  the same, and payload infos
//	8  the same, and full tiles with the nodes four levels above their hashes
//	9  the same, and facts
//
// Versions 1 to 3 were those of entry format 1, which was never released. A
// store has the oldest version that can describe its rows, so that older
// programs read it. The first large payload raises it to 6, the first payload
// info to 7, the first full tile to 8, and the first facts to 9. An empty raw
// log has version 5, because an older program would take it for its own.
const (
	formatVersion = 9
	formatTiles   = 8
	// formatFacts is the first format that has facts. A program that does not
	// know them would leave them when it erases a payload.
	formatFacts  = 9
	formatOldest = 4
)

var (
	errClosed = errors.New("the store is closed")
	errFailed = errors.New("an earlier write failed, and the state on disk is unknown: restart the process")
)

// A Store is an open folder. It implements store.Store.
type Store struct {
	db     *pebble.DB
	dir    string
	fs     vfs.FS
	disk   bool // fs is the operating system's
	log    *slog.Logger
	secret [32]byte
	raw    bool
	// readOnly is set in a store that was opened for reading: nothing in its
	// folder is changed.
	readOnly bool
	empty    bool // it was opened for reading, and has no rows
	// lenient is set in a store that is examined. What Open refuses, and
	// reading can go on with, is in tolerated.
	lenient   bool
	tolerated []error
	lock      *pebble.Lock // of the folder
	bad       badBlocks
	files     *markFS // where files are deleted; nil if it is read-only
	marker    *marker // nil if it is read-only or scratch

	closing sync.RWMutex   // guards closed, and the step from 0 in uses
	closed  bool           //
	uses    sync.WaitGroup // reads and writes under way

	largeMu sync.Mutex             // guards large; may be locked while writing is
	large   map[largeID]*largeFile // large payloads that no commit has named

	purging  sync.Mutex    // held by Purge
	clearing atomic.Bool   // Pebble shall rewrite every blob file that has garbage
	changed  chan struct{} // capacity 1; gets a signal when Pebble has deleted or rewritten a file
	unpurged atomic.Int64  // rows e

	// held by Commit, Erase, ReplaceProjections and a moment of Purge; guards
	// what follows
	writing  sync.Mutex
	version  uint32 // of the rows
	head     treeHead
	failed   bool              // a write failed
	postings []store.PostingAt // scratch space of Commit
	residue  residue           // of erasures since the last Purge
}

var _ store.Store = (*Store)(nil)

// loadMeta reads the rows that every store has, or writes those of a new one.
func (s *Store) loadMeta() error {
	version, err := s.get(formatKey)
	if errors.Is(err, store.ErrNotFound) && s.readOnly {
		s.empty = true
		return nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return s.initialize()
	}
	if err != nil {
		return err
	}
	if s.version, err = decodeVersion(version); err != nil {
		return err
	}
	if err := s.checkKind(); err != nil {
		return err
	}
	secret, err := s.get(secretKey)
	if err != nil {
		return fmt.Errorf("%w: %w", badRow(secretKey, "it is missing"), err)
	}
	if len(secret) != len(s.secret) {
		return badRow(secretKey, "the value has %d bytes, want %d", len(secret), len(s.secret))
	}
	s.secret = [32]byte(secret)
	head, err := s.get(headKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil // no commit yet
	}
	if err != nil {
		return err
	}
	s.head, err = decodeTreeHead(head)
	return err
}

// checkKind reports whether the log has the kind of entries that it was opened
// for.
func (s *Store) checkKind() error {
	_, err := s.get(rawKey)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err == nil && !s.raw:
		return errors.New("it holds a raw log, not one of streams")
	case err != nil && s.raw:
		return errors.New("it holds a log of streams, not a raw one")
	}
	return nil
}

// initialize makes an empty database a store. It is one synced batch, so that a
// store which has a version has a secret.
func (s *Store) initialize() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return s.readError(err)
	}
	foreign := it.First()
	if err := it.Close(); err != nil {
		return s.readError(err)
	}
	if foreign {
		return errors.New("the folder holds a Pebble database that is not a Muniment store")
	}
	if s.secret == [32]byte{} { // none was given
		rand.Read(s.secret[:]) // never fails: see crypto/rand
	}
	b := s.db.NewBatch()
	defer b.Close()
	version, raw := uint32(formatOldest), error(nil)
	if s.raw {
		version, raw = formatOldest+1, b.Set(rawKey, nil, nil)
	}
	if err := errors.Join(raw,
		b.Set(formatKey, encodeVersion(version), nil),
		b.Set(secretKey, s.secret[:], nil),
	); err != nil {
		return err
	}
	s.version = version
	return s.apply(b)
}

// raiseFormat makes the store one of the version, unless it is one of a later
// version. The writing lock is held.
func (s *Store) raiseFormat(b *pebble.Batch, version uint32) error {
	if s.version >= version {
		return nil
	}
	s.version = version
	return b.Set(formatKey, encodeVersion(version), nil)
}

// raiseFormatNow is raiseFormat with a batch of its own.
func (s *Store) raiseFormatNow(version uint32) error {
	if s.version >= version {
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.raiseFormat(b, version); err != nil {
		return err
	}
	return s.apply(b)
}

// apply makes a batch durable, and marks that it is.
func (s *Store) apply(b *pebble.Batch) error {
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return err
	}
	return s.mark()
}

// mark writes the publish mark, with all that is synced now.
func (s *Store) mark() error {
	if s.marker == nil {
		return nil
	}
	return s.marker.write()
}

// Mark implements store.Store.
func (s *Store) Mark(c *store.Checkpoint) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	if s.readOnly {
		return store.ErrReadOnly
	}
	if s.marker == nil {
		return nil
	}
	return s.marker.publish(c.Signed)
}

// beginWrite takes the writing lock of an open store that can be written to.
// The caller calls end when it is done.
func (s *Store) beginWrite() (end func(), err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.writing.Lock()
	end = func() {
		s.writing.Unlock()
		s.uses.Done()
	}
	if err := s.mayWrite(); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// mayWrite returns an error unless the store is writable. The caller holds the
// writing lock.
func (s *Store) mayWrite() error {
	switch {
	case s.readOnly:
		return store.ErrReadOnly
	case s.failed:
		return errFailed
	}
	return nil
}

// Follow implements store.Store. A store has one writer, so nothing is
// committed that the caller does not know after the first call.
func (s *Store) Follow(ctx context.Context, from uint64) (*store.State, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	st, err := s.state(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the state of %s: %w", s.dir, err)
	}
	return st, st.CheckFrom(from)
}

func (s *Store) state(ctx context.Context) (*store.State, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.failed {
		return nil, errFailed
	}
	if s.empty {
		return &store.State{Raw: s.raw}, nil
	}
	st := &store.State{Raw: s.raw, Size: s.head.size, Root: s.head.root, Time: s.head.time, Secret: s.secret}
	return st, s.checkEnd(ctx, st.Size)
}

// checkEnd reports whether the skeletons, or raw leaves, end where the tree
// head does. They were written together.
func (s *Store) checkEnd(ctx context.Context, size uint64) error {
	end, err := s.rowsEnd(ctx)
	if err != nil {
		return err
	}
	if end != size {
		return badRow(headKey, "it records %d entries, but the rows are those of %d", size, end)
	}
	return nil
}

// StreamHeads implements store.Store. It ends at the first row that can't be
// read.
func (s *Store) StreamHeads(ctx context.Context) ([]store.StreamHead, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	heads, err := s.streamHeads(ctx)
	if err != nil {
		return heads, fmt.Errorf("stream heads: %w", err)
	}
	return heads, nil
}

func (s *Store) streamHeads(ctx context.Context) (heads []store.StreamHead, err error) {
	it, err := s.iterator(ctx, headSpace)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return heads, err
		}
		h, err := decodeStreamHead(it.Key(), v)
		if err != nil {
			return heads, err
		}
		heads = append(heads, h)
	}
	return heads, it.Error()
}

// rowsEnd returns the index after the last skeleton or raw leaf.
func (s *Store) rowsEnd(ctx context.Context) (end uint64, err error) {
	space, decode := byte(skeletonSpace), skeletonRunEnd
	if s.raw {
		space, decode = leafSpace, leafRunEnd
	}
	it, err := s.iterator(ctx, space)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if it.Last() {
		v, err := it.ValueAndErr()
		if err != nil {
			return 0, err
		}
		if end, err = decode(it.Key(), v); err != nil {
			return 0, err
		}
	}
	return end, it.Error()
}

// FreeBytes implements store.Store.
func (s *Store) FreeBytes() (uint64, error) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	return usage.AvailBytes, nil
}

// Close implements store.Store. It may be called again.
func (s *Store) Close() error {
	s.closing.Lock()
	again := s.closed
	s.closed = true
	s.closing.Unlock()
	if again {
		return nil
	}
	s.uses.Wait()
	if err := s.close(); err != nil {
		return fmt.Errorf("close %s: %w", s.dir, err)
	}
	return nil
}

// close closes the database, and then the mark, which holds what that has
// synced last.
func (s *Store) close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.closeDB())
	}
	if s.marker != nil {
		errs = append(errs, s.marker.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// enter begins a use that Close waits for; uses.Done ends it. It is not a read
// lock: a caller with an open list of postings can still begin other reads, and
// gets an error instead of a deadlock when Close waits for the list.
func (s *Store) enter() error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return errClosed
	}
	s.uses.Add(1)
	return nil
}

// A treeHead is the unsigned head of the last commit.
type treeHead struct {
	size uint64
	root entry.Hash
	time uint64 // of the last entry, Unix milliseconds
}
