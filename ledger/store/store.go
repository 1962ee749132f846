// Package store says what a storage engine must promise to the ledger.
//
// It holds the contract and the types that cross it, and nothing that runs.
// Engines import it: ledger/pebblestore on a local disk and
// ledger/store/memstore for tests. The conformance suite of
// ledger/store/storetest is the contract as a program.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// TileWidth is the number of hashes in a full tile (C2SP tlog-tiles).
const TileWidth = 256

// MaxLeafSize is the largest leaf that an entry bundle can hold (C2SP
// tlog-tiles).
const MaxLeafSize = 65535

var (
	// ErrNotFound says that the store does not hold what was asked for.
	ErrNotFound = errors.New("not in the store")
	// ErrConflict says that another writer committed first: the store's size is
	// not Commit.From. Nothing was written.
	ErrConflict = errors.New("another writer committed first")
	// ErrDamaged is the error of a read whose data is damaged: it can't be
	// read, or is not what was written.
	ErrDamaged = errors.New("the store is damaged")
	// ErrReadOnly is the error of a write to a store that was opened for
	// reading.
	ErrReadOnly = errors.New("the store is open for reading only")
)

// A Store keeps the log. A log has one kind of entry, which is chosen when its
// store is made: entries of streams, with skeletons and openings, or raw
// leaves, whose data is public as it is. It has one writer, the sequencer, and
// any number of readers. All methods but Commit and ReplaceProjections may be
// called from many goroutines, also while these run.
//
// Reads may show a commit before it is durable, and even one that then fails.
// Only the ledger knows what is published; it asks for nothing beyond, except
// for Lookup and Postings, whose answers it cuts off at the published size.
//
// Nothing above this interface may know which engine is below.
type Store interface {
	// Load returns the state of the last durable commit. It is called once,
	// before anything else. The state of a new store has size 0, no streams and
	// a Secret drawn at random.
	Load(ctx context.Context) (*State, error)

	// Commit writes c atomically. When it returns nil, all of c is durable: it
	// survives the end of the process and a loss of power. ErrConflict means
	// that nothing was written. After any other error the state of the store is
	// unknown, and the caller must end the process. Slices in c are not kept
	// after Commit returns.
	Commit(ctx context.Context, c *Commit) error

	// Mark records that a checkpoint is published, before anyone sees it. What
	// it covers must be durable. It does not wait for the disk, and survives
	// the end of the process. The store is not opened again in a state that
	// lacks what was marked.
	Mark(c *Checkpoint) error

	// Tile returns the 256 hashes of a full tile that a commit wrote, or
	// ErrNotFound.
	Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error)

	// Skeletons returns the skeletons of the entries from ≤ index < to in
	// order, or ErrNotFound if one of them is missing, as in a raw log all are
	// but those that a commit gave with their leaves.
	Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error)

	// Leaves returns the data of the raw leaves from ≤ index < to in order, or
	// ErrNotFound if one of them is missing, as all are in a log that is not
	// raw.
	Leaves(ctx context.Context, from, to uint64) ([][]byte, error)

	// Header returns the header opening of the entry, or nil if it was erased.
	// ErrNotFound means that there is no such entry.
	Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error)

	// Payload returns the payload opening of the entry, or nil if it was
	// erased. ErrNotFound means that there is no such entry. The content of an
	// empty payload is empty, but not nil; that of a large payload is nil,
	// since it need not fit into memory: OpenPayload reads it.
	Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error)

	// PayloadInfo returns what is known of the payload of the entry without
	// its content, which it does not read if that is large. ErrNotFound means
	// that there is no such entry.
	PayloadInfo(ctx context.Context, index uint64) (PayloadInfo, error)

	// OpenPayload opens the payload of the entry, large or not, or returns nil
	// if it was erased. ErrNotFound means that there is no such entry. The
	// caller must Close it. What is open can be read to its end, even if it is
	// erased meanwhile.
	OpenPayload(ctx context.Context, index uint64) (*PayloadReader, error)

	// CreatePayload begins to write a large payload. It is nobody's until a
	// commit names it: if the process ends before, it is gone when the store is
	// opened again.
	CreatePayload(ctx context.Context) (PayloadWriter, error)

	// Erase does what Commit.Erase does, without an entry. When it returns nil,
	// it is durable. It is for erasures that the log has recorded already.
	Erase(ctx context.Context, erasures []Erasure) error

	// Purge makes the bytes of what was erased leave the disk, and returns nil
	// when they have. Until then they can't be read through this interface, but
	// may lie in the store's files. It may take minutes, and may be repeated
	// after an error or a crash.
	Purge(ctx context.Context) error

	// Unpurged returns how many erased entries wait for Purge.
	Unpurged() int

	// Checkpoint returns the signed checkpoint with the smallest size that is
	// at least minSize, or ErrNotFound.
	Checkpoint(ctx context.Context, minSize uint64) (*Checkpoint, error)

	// KeepCosigned writes a published checkpoint with cosignatures, in place of
	// the kept one of the same size and of the one of size instead, where there
	// are such. When it returns nil, that is durable. After an error the state
	// of the store is unknown, as after one of Commit. It may be called while
	// Commit runs.
	KeepCosigned(ctx context.Context, c *Checkpoint, instead uint64) error

	// Cosigned returns the kept checkpoint with the smallest size that is at
	// least minSize, or ErrNotFound.
	Cosigned(ctx context.Context, minSize uint64) (*Checkpoint, error)

	// LastCosigned returns the kept checkpoint with the largest size, or
	// ErrNotFound.
	LastCosigned(ctx context.Context) (*Checkpoint, error)

	// Lookup returns the index under which a commit filed the key, or
	// ErrNotFound.
	Lookup(ctx context.Context, k Key) (uint64, error)

	// Postings opens the list of entries that a term was given for. The list
	// need not show what is committed after it was opened. The caller must
	// Close it.
	Postings(ctx context.Context, t Term) (Postings, error)

	// Projections returns all keys and postings, keys first, each sorted by
	// bytes and postings of the same term by index.
	Projections(ctx context.Context) iter.Seq2[Projection, error]

	// ReplaceProjections deletes all keys, postings and stream heads and writes
	// the given ones, which come in any order and may be read from this store.
	// An error from p leaves the old ones. It may be repeated after a crash. No
	// Commit may run meanwhile.
	ReplaceProjections(ctx context.Context, p iter.Seq2[Projection, error], heads []StreamHead) error

	// ReplaceTiles writes full tiles again that were lost or damaged. When it
	// returns nil, that is durable. No Commit may run meanwhile.
	ReplaceTiles(ctx context.Context, tiles []Tile) error

	// FreeBytes returns how much the disk below has left for this process.
	FreeBytes() (uint64, error)

	// Close waits for reads that are under way, open Postings among them, and
	// frees the store for another process. Reads that begin later return an
	// error.
	Close() error
}

// A State is what the sequencer needs to go on.
type State struct {
	Raw     bool         // the entries are raw leaves
	Size    uint64       // entries in the log
	Root    entry.Hash   // root of the tree of that size; not set when Size is 0
	Time    uint64       // of the last entry, Unix milliseconds
	Streams []StreamHead // of every stream that has an entry
	// key of the deduplication HMAC; drawn when the store was made, never
	// leaves it
	Secret [32]byte
}

// A Commit is all that one batch writes.
type Commit struct {
	From     uint64       // size of the log before; the first entry's index
	Root     entry.Hash   // of the tree of size From + len(Entries): the unsigned tree head
	Entries  []Entry      // at least one
	Tiles    []Tile       // that became full with this commit
	Heads    []StreamHead // of every stream in Entries
	Keys     []KeyAt      // no key occurs twice, here or in the store
	Postings []PostingAt  // of these Entries, in any order; the same pair does not occur twice
	Erase    []Erasure    // of entries before From; done before Keys and Postings are written
	// the last one published, signed after its own commit; nil if this is the
	// first
	Checkpoint *Checkpoint
}

// An Erasure deletes the payload opening of an entry, salt and all, and what is
// derived from it. What is not there any more, or never was, is no error.
type Erasure struct {
	Index  uint64
	Header bool   // the header opening, too
	Keys   []Key  // filed under the entry, and to be forgotten
	Terms  []Term // the entry is taken out of their lists
}

// An Entry is what is kept of one entry: for ever, and until erased. Of one in
// a raw log that is Leaf, and of the last one of a commit the Skeleton's Time;
// all else is set only in a replica, which keeps the records of some streams
// beside the leaves of all: those of an entry whose Skeleton has a StreamID. In
// such a record a salt of zeros says that the opening was erased.
type Entry struct {
	Skeleton entry.Skeleton
	Header   receipt.HeaderOpening
	Payload  receipt.PayloadOpening
	// holds the payload's content, which Payload then lacks; nil if it is not
	// large
	Large *LargePayload
	Leaf  []byte // 1 to MaxLeafSize bytes; nil in a log that is not raw
}

// A LargePayload names a payload that a PayloadWriter has finished.
type LargePayload struct {
	ID   [16]byte
	Size uint64 // bytes
}

// A PayloadWriter takes a large payload in. It is for one goroutine.
type PayloadWriter interface {
	io.Writer
	// Finish makes durable what was written, and ends the writing. The name may
	// be used in one commit.
	Finish() (LargePayload, error)
	// Open opens what was written for reading, after Finish.
	Open() (io.ReadCloser, error)
	// Discard deletes what was written, unless a commit has taken it over. It
	// may be called at any time, and again.
	Discard() error
}

// PayloadInfo describes a payload. Of one that was erased, only Erased is set.
type PayloadInfo struct {
	Salt   entry.Salt
	Size   uint64 // bytes
	Erased bool
}

// A PayloadReader is an open payload.
type PayloadReader struct {
	io.ReadCloser
	Salt entry.Salt
	Size uint64 // bytes
}

// CheckKind returns an error unless the entries are of a log's one kind.
func (c *Commit) CheckKind(raw bool) error {
	for i := range c.Entries {
		switch n := len(c.Entries[i].Leaf); {
		case !raw && n > 0:
			return fmt.Errorf("entry %d is a raw leaf: this log has entries of streams", c.From+uint64(i))
		case raw && (n == 0 || n > MaxLeafSize):
			return fmt.Errorf("entry %d has %d bytes of leaf data: a raw leaf has 1 to %d", c.From+uint64(i), n, MaxLeafSize)
		}
	}
	return nil
}

// CheckErasures returns an error unless the erasures can be made in a log of
// that size.
func CheckErasures(erasures []Erasure, size uint64) error {
	for i := range erasures {
		if erasures[i].Index >= size {
			return fmt.Errorf("erasure of entry %d: the log has %d entries before the commit", erasures[i].Index, size)
		}
	}
	return nil
}

// IsRecord says whether an entry of a raw log has more than its leaf.
func (e *Entry) IsRecord() bool { return e.Skeleton.StreamID != entry.Hash{} }

// A Tile is a full tile of the Merkle tree, as C2SP tlog-tiles defines level
// and index.
type Tile struct {
	Level  uint8
	Index  uint64
	Hashes []entry.Hash // 256
}

// A StreamHead is the end of a tenant's stream.
type StreamHead struct {
	StreamID entry.Hash
	Next     uint64     // sequence number of the next entry
	Last     entry.Hash // leaf hash of the last entry
}

// A Checkpoint is one that was published.
type Checkpoint struct {
	Size   uint64
	Signed []byte // signed note
}

// A Key finds the entry that a submission has made before. It is a truncated
// HMAC; whoever finds an entry by it must compare.
type Key [16]byte

// A Term stands for one searchable fact about entries of one stream. It is a
// truncated hash; whoever finds an entry by it must compare.
type Term [16]byte

// A KeyAt files a key under an entry.
type KeyAt struct {
	Key   Key
	Index uint64
}

// A PostingAt says that the entry has the term.
type PostingAt struct {
	Term  Term
	Index uint64
}

// A Projection is a KeyAt or a PostingAt.
type Projection struct {
	Key     *KeyAt
	Posting *PostingAt
}

// Postings is an increasing list of the indexes of entries. It is for one
// goroutine.
type Postings interface {
	// SeekGE returns the smallest index in the list that is at least i; ok is
	// false if there is none.
	SeekGE(i uint64) (index uint64, ok bool, err error)
	// SeekLE returns the largest index in the list that is at most i; ok is
	// false if there is none.
	SeekLE(i uint64) (index uint64, ok bool, err error)
	Close() error
}
