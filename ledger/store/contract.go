package store

import (
	"context"
	"iter"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A Store keeps the log. A log has one kind of entry, which is chosen when its
// store is made: entries of streams, with skeletons and openings, or raw
// leaves, whose data is public as it is. A server has one writer, its
// sequencer, and any number of readers. Some engines can be shared by several
// servers, each with a Store of its own. All methods may be called from many
// goroutines, but only one of Commit, ReplaceProjections and ReplaceTiles may
// run at a time.
//
// Reads may show a commit before it is durable, and even one that then fails.
// Only the ledger knows what is published. It asks for nothing beyond, except
// for Lookup and Postings, whose answers it cuts off at the published size.
//
// The promises are grouped by how hard they are to keep. Code above an engine
// asks for the group that it needs, and does not depend on the engine below.
type Store interface {
	Log
	Openings
	Index
	Cosignatures

	// Close waits for reads that are under way, open Postings among them, and
	// frees the store for another process. Reads that begin later return an
	// error.
	Close() error
}

// A Log keeps what is permanent: commits, and the state that they lead to. No
// row of it ever changes, and each must survive.
type Log interface {
	// Follow returns the state after the last durable commit of any server.
	// The caller knows the first from entries: a log that has fewer has lost
	// some, which is ErrDamaged. What was committed after them can be read. The
	// state of a new store has size 0 and a Secret drawn at random. Follow
	// comes before anything else.
	Follow(ctx context.Context, from uint64) (*State, error)

	// Commit proposes c as the commit that follows the first From entries, and
	// returns one of three outcomes:
	//
	//	nil           won: all of c is durable, and survives the end of the
	//	              process and a loss of power.
	//	ErrLost       lost: another commit has the place of c, and nothing of c
	//	              was written or ever will be. Its large payloads remain.
	//	ErrUndecided  undecided: c is written as a whole, or will be, or never
	//	              will be. The caller calls Commit again with the same c,
	//	              for as long as it needs the answer.
	//
	// After any other error the outcome stays unknown, and the caller must end
	// the process. Large payloads of c are kept until it is lost, and a store
	// that is opened again deletes them only if no row names them. Slices in c
	// are not kept after a commit is decided. An engine with one writer has no
	// undecided commits.
	Commit(ctx context.Context, c *Commit) error

	// Mark records that a checkpoint is published, before anyone sees it. What
	// it covers must be durable. It does not wait for the disk, and survives
	// the end of the process. The store is not opened again in a state that
	// lacks what was marked.
	Mark(c *Checkpoint) error

	// Tile returns the TileHashes hashes of a full tile that a commit wrote, or
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

	// Checkpoint returns the signed checkpoint with the smallest size that is
	// at least minSize, or ErrNotFound.
	Checkpoint(ctx context.Context, minSize uint64) (*Checkpoint, error)

	// FreeBytes returns how much the disk below has left for this process.
	FreeBytes() (uint64, error)
}

// Openings are what can be erased: headers, payloads and their salts.
type Openings interface {
	// Header returns the header opening of the entry, or nil if it was erased.
	// ErrNotFound means that there is no such entry.
	Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error)

	// Payload returns the payload opening of the entry, or nil if it was
	// erased. ErrNotFound means that there is no such entry. The content of an
	// empty payload is empty, but not nil; that of a large payload is nil,
	// since it need not fit into memory: OpenPayload reads it.
	Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error)

	// PayloadInfo returns the salt and size of the payload of the entry, and
	// whether it was erased. It does not read the content of a payload that is
	// not small. ErrNotFound means that there is no such entry.
	PayloadInfo(ctx context.Context, index uint64) (PayloadInfo, error)

	// OpenPayload opens the payload of the entry, large or not, or returns nil
	// if it was erased. ErrNotFound means that there is no such entry. The
	// caller must Close it. What is open can be read to its end, even if it is
	// erased meanwhile.
	OpenPayload(ctx context.Context, index uint64) (*PayloadReader, error)

	// CheckLarge returns an error unless the content of every large payload is
	// there in its full size. It does not read the content.
	CheckLarge(ctx context.Context) error

	// CreatePayload begins to write a large payload. If the process ends before
	// a commit names it, it is gone when the store is opened again.
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
}

// An Index holds projections. They are written with the commits, and can be
// rebuilt from the log and its openings if they are lost.
type Index interface {
	// StreamHeads returns the ends of all streams that have an entry. With
	// ErrDamaged, it returns some of those that can be read. A store that is
	// shared shows those of durable commits only, which may be newer than the
	// last that Follow returned.
	StreamHeads(ctx context.Context) ([]StreamHead, error)

	// Lookup returns the index under which a commit filed the key, or
	// ErrNotFound.
	Lookup(ctx context.Context, k Key) (uint64, error)

	// KeyFilter returns a filter of the keys that are filed when it is called.
	// Keys that are filed later need not be in it. It may take a second.
	KeyFilter(ctx context.Context) (KeyFilter, error)

	// Postings opens the list of entries that a term was given for. The list
	// need not show what is committed after it was opened. The caller must
	// Close it.
	Postings(ctx context.Context, t Term) (Postings, error)

	// Facts returns the facts of the entry, or ErrNotFound if it has none, or
	// they were erased.
	Facts(ctx context.Context, index uint64) ([]byte, error)

	// Projections returns all keys, postings and facts, in this order, keys and
	// postings sorted by bytes, and postings of the same term and facts by
	// index. What a projection points to is valid until the next one.
	Projections(ctx context.Context) iter.Seq2[Projection, error]

	// ReplaceProjections deletes all keys, postings, facts and stream heads and
	// writes the given ones, which come in any order and may be read from this
	// store. An error from p leaves the old ones. It may be repeated after a
	// crash.
	ReplaceProjections(ctx context.Context, p iter.Seq2[Projection, error], heads []StreamHead) error

	// ReplaceTiles writes full tiles again that were lost or damaged. When it
	// returns nil, that is durable. No Commit may run meanwhile.
	ReplaceTiles(ctx context.Context, tiles []Tile) error
}

// A KeyFilter recognizes keys without reading from the disk. Its size is
// bounded, whatever the size of the log. It may be used from many goroutines,
// also when the store is closed.
type KeyFilter interface {
	// MayHave returns true for every key in the filter, and false for nearly
	// all others, as far as the filter's size allows.
	MayHave(k *Key) bool
}

// Cosignatures are published checkpoints with the cosignatures of witnesses.
// They are written beside commits, and can be asked for again if they are lost.
type Cosignatures interface {
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
}
