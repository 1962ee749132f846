package pebblestore

import (
	"encoding/binary"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// The first byte of a key is its keyspace. Integers in keys are big-endian, so
// that rows lie in the order of their indexes.
//
//	c ‖ u64 size             checkpoint              → signed note
//	d ‖ u64 index            facts                   → bytes, which only the ledger reads
//	e ‖ u64 index            erased, and not purged yet → nothing
//	f ‖ u64 index            large payload           → salt ‖ file name ‖ u64 size, see large.go
//	g ‖ stream ID            stream head             → u64 next ‖ leaf hash of the last entry
//	h ‖ u64 first index      header openings         → run, see rows.go
//	k ‖ key                  deduplication key       → uvarint index
//	l ‖ u64 first index      raw leaves              → run, see rows.go
//	m ‖ name                 meta                    → see below
//	p ‖ u64 index            payload opening         → salt ‖ payload, or empty; large: f
//	q ‖ u64 index            payload info            → salt ‖ u64 size; from 32 KiB on, see info.go
//	s ‖ u64 first index      skeletons               → run, see rows.go
//	t ‖ u8 level ‖ u64 index full tile               → 256 hashes ‖ 16 nodes above them
//	w ‖ u64 size             cosigned checkpoint     → signed note
//	x ‖ term ‖ u64 index     postings                → up to 1023 distances, uvarints
//	y ‖ key of d, g, k or x  to replace projections  → see replace.go
//
// Headers and skeletons of up to 32 consecutive entries of one commit share a
// row: a row costs more than its bytes, in the commit and in every compaction.
// A payload has its own, because payloads are erased one by one. A raw log has
// rows l where others have h, p and s.
const (
	checkpointSpace = 'c'
	factsSpace      = 'd'
	unpurgedSpace   = 'e'
	largeSpace      = 'f'
	headSpace       = 'g'
	headerSpace     = 'h'
	keySpace        = 'k'
	leafSpace       = 'l'
	metaSpace       = 'm'
	payloadSpace    = 'p'
	infoSpace       = 'q'
	skeletonSpace   = 's'
	tileSpace       = 't'
	cosignedSpace   = 'w'
	postingSpace    = 'x'
	stagingSpace    = 'y'
)

var (
	formatKey  = []byte("mformat")  // u32 version of the rows
	rawKey     = []byte("mraw")     // there in the store of a raw log; empty
	secretKey  = []byte("msecret")  // 32 bytes
	headKey    = []byte("mhead")    // u64 size ‖ root ‖ u64 time
	replaceKey = []byte("mreplace") // there while a replacement must be finished; empty
)

const (
	indexKeySize   = 1 + 8
	tileKeySize    = 1 + 1 + 8
	keyKeySize     = 1 + len(store.Key{})
	headKeySize    = 1 + entry.HashSize
	termPrefixSize = 1 + len(store.Term{})
	postingKeySize = termPrefixSize + 8
)

// indexKey is the key of a row that begins with index n, or of a checkpoint of
// size n.
func indexKey(space byte, n uint64) (k [indexKeySize]byte) {
	putIndexKey(k[:], space, n)
	return k
}

func putIndexKey(k []byte, space byte, n uint64) {
	k[0] = space
	binary.BigEndian.PutUint64(k[1:], n)
}

func putTileKey(k []byte, level uint8, index uint64) {
	k[0] = tileSpace
	k[1] = level
	binary.BigEndian.PutUint64(k[2:], index)
}

func putKeyKey(k []byte, key *store.Key) {
	k[0] = keySpace
	copy(k[1:], key[:])
}

func putHeadKey(k []byte, stream *entry.Hash) {
	k[0] = headSpace
	copy(k[1:], stream[:])
}

func putPostingKey(k []byte, term *store.Term, first uint64) {
	k[0] = postingSpace
	copy(k[1:], term[:])
	binary.BigEndian.PutUint64(k[termPrefixSize:], first)
}
