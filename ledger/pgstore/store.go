package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/maypok86/otter/v2"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/store"
)

// A Store is the log as one server sees it.
type Store struct {
	*location
	pool     *pgxpool.Pool
	readOnly bool
	raw      bool
	version  int // of the schema
	secret   [32]byte
	kept     []byte   // the secret as the database has it, perhaps sealed
	writer   [16]byte // of this process
	marks    *marks
	bucket   *objects.Bucket // of large payloads; nil: they are in the database
	log      *slog.Logger
	sweeper  sweeper
	// skeletons are those of runs that were read, by index
	skeletons *otter.Cache[uint64, entry.Skeleton]

	writing sync.Mutex     // held by Commit and ReplaceProjections
	uses    sync.WaitGroup // reads and writes under way

	mu        sync.Mutex // guards what follows
	closed    bool
	confirmed uint64 // size of a log that the standby has
}

var _ store.Store = (*Store)(nil)

var errClosed = errors.New("the store is closed")

// keptSkeletons is the number of skeletons in memory, of about 300 bytes each.
const keptSkeletons = 1 << 16

func newStore(l *location, pool *pgxpool.Pool) *Store {
	s := &Store{location: l, pool: pool, skeletons: otter.Must(&otter.Options[uint64, entry.Skeleton]{MaximumSize: keptSkeletons})}
	rand.Read(s.writer[:]) // never fails: see crypto/rand
	if s.server == "" {
		s.server = fmt.Sprintf("%x", s.writer)
	}
	return s
}

// enter begins a use of the store. The caller must end it by s.uses.Done.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.uses.Add(1)
	return nil
}

func (s *Store) enterWrite() error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	return s.enter()
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.sweeper.stop()
	s.uses.Wait()
	s.pool.Close()
	return s.marks.close()
}

// Follow implements store.Store.
func (s *Store) Follow(ctx context.Context, from uint64) (*store.State, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	st := &store.State{Raw: s.raw, Secret: s.secret}
	var size, time int64
	var root []byte
	err := s.pool.QueryRow(ctx, s.sql(`SELECT size, root, time FROM $commits ORDER BY first DESC LIMIT 1`)).Scan(&size, &root, &time)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return st, st.CheckFrom(from)
	case err != nil:
		return nil, fmt.Errorf("state of the log: %w", noAnswer(ctx, err))
	case len(root) != entry.HashSize:
		return nil, fmt.Errorf("the root of size %d has %d bytes: %w", size, len(root), store.ErrDamaged)
	}
	st.Size, st.Time = uint64(size), uint64(time)
	copy(st.Root[:], root)
	if err := st.CheckFrom(from); err != nil {
		return nil, err
	}
	return st, s.confirmSize(ctx, st.Size)
}

// confirmSize waits until a log of that size, which was read, is durable. A
// store for reading cannot wait for that: its reader must prove otherwise that
// the log is as new as it should be.
func (s *Store) confirmSize(ctx context.Context, size uint64) error {
	s.mu.Lock()
	known := s.confirmed
	s.mu.Unlock()
	if size <= known || s.readOnly || s.single {
		return nil
	}
	if err := s.confirm(ctx); err != nil {
		return fmt.Errorf("state of the log: %w", noAnswer(ctx, err))
	}
	s.confirmedTo(size)
	return nil
}

// confirmedTo records that a log of that size is durable.
func (s *Store) confirmedTo(size uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = max(s.confirmed, size)
}

// Mark implements store.Store. The database keeps the checkpoint without
// waiting for its disk, and so does the file of the mark, if there is one.
func (s *Store) Mark(c *store.Checkpoint) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	if err := s.marks.write(c); err != nil {
		return fmt.Errorf("publish mark: %w", err)
	}
	return nil
}

// FreeBytes implements store.Store. A database does not report how much room
// its disk has. A commit that finds none is undecided until there is room.
func (s *Store) FreeBytes() (uint64, error) { return math.MaxInt64, nil }
