package store

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"
)

var (
	// ErrInUse is the error of opening a store that another process has open.
	ErrInUse = errors.New("the data folder is in use by another process")
	// ErrStale is the error of opening a store that is older than its publish
	// mark. Nothing in it was changed.
	ErrStale = errors.New("the store is older than its publish mark")
	// ErrNoMark is the error of a store without a usable publish mark.
	ErrNoMark = errors.New("the store has no usable publish mark")
	// ErrSealed is the error of opening a shared store whose secret is
	// encrypted with a key that Options.Sealer does not have.
	ErrSealed = errors.New("the secret of the log is encrypted with another key than that of this server")
	// ErrMoved is the error of opening a store for writing whose log was moved
	// to another one. Its server would fork the log.
	ErrMoved = errors.New("the log was moved to another store")
	// ErrUnpublished is the error of a store whose publish mark contains no
	// checkpoint: none was published, so no entry was acknowledged.
	ErrUnpublished = errors.New("the store has no published checkpoint")
)

// An Engine opens stores. A location is the part of a store's URL after the
// scheme; its meaning is the engine's. The package ledger/engine has the table
// of engines.
//
// Opening destroys nothing. An engine changes a store only after it has
// established that it holds everything its publish mark vouches for, and after
// Options.Prove has returned nil. Until then, an error leaves everything as it
// was.
type Engine interface {
	// Open opens a store for reading and writing, and makes it if it does not
	// exist. The error is ErrInUse if another process has the store open,
	// ErrDamaged or ErrStale if the store lacks something that was written, or
	// that of Options.Prove.
	Open(ctx context.Context, location string, o Options) (Store, error)

	// OpenReadOnly opens a store that exists, and changes nothing. Writes to
	// the store return ErrReadOnly. The error is ErrNotFound if there is no
	// store. Otherwise it is as Open.
	OpenReadOnly(ctx context.Context, location string, o Options) (Store, error)

	// Examine opens a store for reading, and continues where Open refuses. The
	// error is ErrInUse, ErrNotFound, or one of the disk.
	Examine(ctx context.Context, location string, o Options) (Examination, error)

	// Snapshot takes a snapshot of a store, which another process may have
	// open. It keeps copies in the folder scratch. The error is ErrNoMark or
	// ErrUnpublished if no publish mark vouches for a state.
	Snapshot(ctx context.Context, location, scratch string) (*Snapshot, error)
}

// Options to open a store with. The zero value is fit for production.
type Options struct {
	// Logger receives the engine's messages; slog.Default if nil.
	Logger *slog.Logger
	// CacheBytes is the size of the cache of data that was read. The engine
	// chooses it if it is 0.
	CacheBytes int64
	// BufferBytes is how much of what was written is kept in memory before it
	// is moved to its place. There may be several such buffers. The engine
	// chooses the size if it is 0.
	BufferBytes uint64
	// Raw is set if the log has raw leaves. A store that exists and is of the
	// other kind is refused.
	Raw bool
	// Prove decides whether the state is as new as everything that was
	// acknowledged. It is called before anything is changed, with the store
	// open for reading, or nil if there is none yet, and with the publish mark,
	// or nil if that is missing or torn.
	Prove func(s Store, m *Mark) error
	// Scratch makes a store without a publish mark, for data that may be lost.
	// The location must be empty.
	Scratch bool
	// Secret is the State.Secret of a store that is made, for a copy of a log.
	// It is drawn at random if it is nil.
	Secret *[32]byte
	// Sealer encrypts the State.Secret where a shared store keeps it. Without
	// it, a secret is kept in clear text, and one that is encrypted already
	// cannot be read: the error is ErrSealed, as with another key.
	Sealer Sealer
}

// A Sealer encrypts with a key that the servers of a log share. What it seals
// opens in the same context only.
type Sealer interface {
	Seal(context string, text []byte) []byte
	Open(context string, sealed []byte) ([]byte, error)
}

// A Mark is a publish mark: it outlives the process, and proves that a store
// lost nothing that was published. ledger/mark has its file format.
type Mark struct {
	// Checkpoint is the last published checkpoint, a signed note. It is nil if
	// none was published.
	Checkpoint []byte
	// Journals are files that the store needs. An engine that keeps no files of
	// its own has none.
	Journals []Journal
}

// A Journal is the part of a file that was synced.
type Journal struct {
	Name   string // in the store's folder
	Length uint64 // bytes
	Hash   uint64 // XXH64 of the first Length bytes
}

// An Examination is a store that is open for reading although it may be
// damaged.
type Examination interface {
	// Mark returns the publish mark, or why it cannot be used.
	Mark() (*Mark, error)
	// Damage returns what Open would refuse.
	Damage() []FileDamage
	// Store returns the store, or nil if it is too damaged to be read.
	Store() DamagedStore
	// CheckFiles reads all files of the store, and calls report for each that
	// is damaged. The rows must have been read before: files that they do not
	// need are not reported. progress may be nil.
	CheckFiles(ctx context.Context, progress func(done, total uint64), report func(FileDamage)) error
	// Close closes the store.
	Close() error
}

// A DamagedStore is a store that is read as far as possible.
type DamagedStore interface {
	Store
	// Salvage returns the readable part of the state, and what is wrong with
	// the rest. Its size is that of the rows that exist.
	Salvage(ctx context.Context) (*State, []error)
	// UnusedFiles returns the files that no row names. A crash may leave some;
	// Open deletes them.
	UnusedFiles(ctx context.Context) ([]string, error)
}

// A FileDamage is damage to a file of a store.
type FileDamage struct {
	Name string // in the store's folder; empty if it is not known
	Err  error
}

// A Snapshot is a state of a store that a mark vouches for, as files. A store
// can be opened where the files and the mark are copied to.
type Snapshot struct {
	Mark  *Mark
	Files []SnapshotFile
	Open  []io.Closer // closed by Close
}

// A SnapshotFile is a file that does not change, or a copy of one that does.
type SnapshotFile struct {
	Name     string    // path in the store's folder
	Size     int64     // bytes
	Modified time.Time // zero if the file may change
	Content  io.ReaderAt
}

// Close closes the files.
func (s *Snapshot) Close() error {
	var err error
	for _, f := range s.Open {
		err = errors.Join(err, f.Close())
	}
	s.Open = nil
	return err
}
