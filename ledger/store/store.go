// Package store is the contract between the ledger and its storage engines.
//
// It has interfaces and the types that cross them. Engines import it:
// ledger/pebblestore on a local disk and ledger/store/memstore for tests. The
// conformance suite of ledger/store/storetest is the contract as a program.
package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// TileWidth is the number of hashes in a full tile (C2SP tlog-tiles).
const TileWidth = 256

// TileHashes is the number of hashes that are stored of a full tile: its own
// and the nodes four levels above them. With these, a proof computes 30 nodes
// of a tile and not 255.
const TileHashes = TileWidth + TileWidth/TileGroup

// TileGroup is the number of hashes of a tile below one of those nodes.
const TileGroup = 16

// MaxLeafSize is the largest leaf that an entry bundle can hold (C2SP
// tlog-tiles).
const MaxLeafSize = 65535

var (
	// ErrNotFound is the error of a read of something that the store lacks.
	ErrNotFound = errors.New("not in the store")
	// ErrLost is the outcome of a commit whose place another commit has.
	ErrLost = errors.New("another writer committed first")
	// ErrUndecided is the outcome of a commit that may or may not have been
	// written.
	ErrUndecided = errors.New("the outcome of the commit is not known yet")
	// ErrDamaged is the error of a read whose data is damaged: it can't be
	// read, or is not what was written.
	ErrDamaged = errors.New("the store is damaged")
	// ErrUnavailable is the error of a read or write of a payload whose storage
	// does not answer. It may succeed later.
	ErrUnavailable = errors.New("the storage of large payloads does not answer")
	// ErrNoAnswer is the error of a read from a database that does not answer,
	// or cannot at present. It may succeed later.
	ErrNoAnswer = errors.New("the database of the log does not answer")
	// ErrReadOnly is the error of a write to a store that was opened for
	// reading.
	ErrReadOnly = errors.New("the store is open for reading only")
)

// A State is what the sequencer needs to go on.
type State struct {
	Raw  bool       // the entries are raw leaves
	Size uint64     // entries in the log
	Root entry.Hash // root of the tree of that size; not set when Size is 0
	Time uint64     // of the last entry, Unix milliseconds
	// key of the deduplication HMAC; drawn when the store was made, never
	// leaves it
	Secret [32]byte
}

// CheckFrom returns an error if the log is smaller than the caller knows it to
// be.
func (s *State) CheckFrom(from uint64) error {
	if s.Size < from {
		return fmt.Errorf("%w: the log has %d entries, and had %d before", ErrDamaged, s.Size, from)
	}
	return nil
}

// A Commit is all that one batch writes.
type Commit struct {
	// ID names these bytes: it is drawn for each commit, and is the same when
	// the commit is proposed again. Engines with one writer ignore it.
	ID      [16]byte
	From    uint64       // size of the log before; the first entry's index
	Root    entry.Hash   // of the tree of size From + Len(): the unsigned tree head
	Entries []Entry      // of a log of streams
	Leaves  []Leaf       // of a raw log or a replica, in place of Entries
	Tiles   []Tile       // that became full with this commit
	Heads   []StreamHead // of every stream in the commit
	Keys    []KeyAt      // no key occurs twice, here or in the store
	// of entries in the commit, in any order; the same pair does not occur
	// twice
	Postings []PostingAt
	Facts    []FactsAt // of entries in the commit; at most one for each
	Erase    []Erasure // of entries before From; done before Keys and Postings are written
	// the last one published, signed after its own commit; nil if this is the
	// first
	Checkpoint *Checkpoint
	Older      []Checkpoint // in a copy of a log: those of smaller sizes
}

// An Erasure deletes the payload opening of an entry, salt and all, its facts,
// and what else is derived from it. What is not there any more, or never was,
// is no error.
type Erasure struct {
	Index  uint64
	Header bool   // the header opening, too
	Keys   []Key  // filed under the entry, and to be forgotten
	Terms  []Term // the entry is taken out of their lists
}

// Len returns the number of entries in the commit.
func (c *Commit) Len() int { return len(c.Entries) + len(c.Leaves) }

// Time returns the time of the commit's last entry.
func (c *Commit) Time() uint64 {
	if n := len(c.Leaves); n > 0 {
		return c.Leaves[n-1].Time
	}
	return c.Entries[len(c.Entries)-1].Skeleton.Time
}

// LargePayloads returns the large payloads of the commit by entry.
func (c *Commit) LargePayloads() iter.Seq2[uint64, *LargePayload] {
	return func(yield func(uint64, *LargePayload) bool) {
		for i := range c.Entries {
			if l := c.Entries[i].Large; l != nil && !yield(c.From+uint64(i), l) {
				return
			}
		}
		for i := range c.Leaves {
			if r := c.Leaves[i].Record; r != nil && r.Large != nil && !yield(c.From+uint64(i), r.Large) {
				return
			}
		}
	}
}

// An Entry is an entry of a stream: its permanent skeleton, and the openings
// that can be erased later.
type Entry struct {
	Skeleton entry.Skeleton
	Header   receipt.HeaderOpening
	Payload  receipt.PayloadOpening
	// Large is the payload's content, which Payload then lacks. Nil if the
	// payload is not large.
	Large *LargePayload
	// NoHeader and NoPayload are set in a copy of a log, for openings that were
	// erased there. An entry without its header has no payload either.
	NoHeader, NoPayload bool
}

// A Leaf is an entry of a raw log or a replica.
type Leaf struct {
	Data   []byte  // 1 to MaxLeafSize bytes
	Time   uint64  // Unix milliseconds; only that of a commit's last leaf is kept
	Record *Record // nil except in a replica, for entries of its streams
}

// A Record is what a replica keeps of an entry of a stream, beside its leaf.
type Record struct {
	Skeleton entry.Skeleton
	Header   *receipt.HeaderOpening  // nil: erased
	Payload  *receipt.PayloadOpening // nil: erased
	Large    *LargePayload           // as in Entry
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
	// Seal is InfoSeal of the entry, if salt and size come from a row of their
	// own. Zero if they come from the payload's row.
	Seal entry.Hash
}

// InfoSeal returns the hash that binds a row with the salt and size of a
// payload to its entry. A reader of the salt thereby detects another entry's
// row without reading the payload.
func InfoSeal(header entry.Hash, salt entry.Salt, size uint64) entry.Hash {
	const prefix = "muniment/payload-info/v1\n"
	b := make([]byte, 0, len(prefix)+2*entry.HashSize+8)
	b = append(b, prefix...)
	b = append(b, header[:]...)
	b = append(b, salt[:]...)
	b = binary.BigEndian.AppendUint64(b, size)
	return sha256.Sum256(b)
}

// A PayloadReader is an open payload.
type PayloadReader struct {
	io.ReadCloser
	Salt entry.Salt
	Size uint64 // bytes
}

// CheckKind returns an error unless the entries are of a log's one kind.
func (c *Commit) CheckKind(raw bool) error {
	switch {
	case !raw && len(c.Leaves) > 0:
		return fmt.Errorf("entry %d is a raw leaf: this log has entries of streams", c.From)
	case raw && len(c.Entries) > 0:
		return fmt.Errorf("entry %d is an entry of a stream: this log has raw leaves", c.From)
	}
	for i := range c.Leaves {
		if n := len(c.Leaves[i].Data); n == 0 || n > MaxLeafSize {
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

// A Tile is a full tile of the Merkle tree, as C2SP tlog-tiles defines level
// and index.
type Tile struct {
	Level  uint8
	Index  uint64
	Hashes []entry.Hash // TileHashes, as TileNodes returns them
}

// TileNodes returns the hashes of a full tile, followed by the nodes four
// levels above them.
func TileNodes(hashes []entry.Hash) []entry.Hash {
	nodes := append(make([]entry.Hash, 0, TileHashes), hashes[:TileWidth]...)
	for group := range slices.Chunk(hashes[:TileWidth], TileGroup) {
		var lower GroupNodes
		nodes = append(nodes, lower.Compute(group))
	}
	return nodes
}

// GroupNodes are the nodes between the hashes of a group and its root: 8, 4 and
// 2.
type GroupNodes [TileGroup - 2]entry.Hash

// Compute sets the nodes of a group of hashes and returns its root.
func (n *GroupNodes) Compute(hashes []entry.Hash) entry.Hash {
	below := hashes
	for above := n[:]; len(below) > 2; below, above = above[:len(below)/2], above[len(below)/2:] {
		for i := range len(below) / 2 {
			above[i] = entry.NodeHash(&below[2*i], &below[2*i+1])
		}
	}
	return entry.NodeHash(&below[0], &below[1])
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

// A Key finds an entry that was already recorded for a submission. It is a
// truncated HMAC; an entry found by it must be compared.
type Key [16]byte

// A Term stands for one searchable fact about entries of one stream. It is a
// truncated hash; an entry found by it must be compared.
type Term [16]byte

// A KeyAt files a key under an entry.
type KeyAt struct {
	Key   Key
	Index uint64
}

// A PostingAt files an entry under a term.
type PostingAt struct {
	Term  Term
	Index uint64
}

// A FactsAt has the facts of an entry, which are derived from its header and
// payload. A store does not interpret them.
type FactsAt struct {
	Index uint64
	Facts []byte // at least 1
}

// A Projection is a KeyAt, a PostingAt or a FactsAt.
type Projection struct {
	Key     *KeyAt
	Posting *PostingAt
	Facts   *FactsAt
}

// Index returns the index of the projection's entry.
func (p *Projection) Index() uint64 {
	switch {
	case p.Key != nil:
		return p.Key.Index
	case p.Posting != nil:
		return p.Posting.Index
	}
	return p.Facts.Index
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
