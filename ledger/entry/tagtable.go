package entry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// A TagTable maps the tags of one stream to their sequence numbers, up to a
// limit. A completeness check looks up every leaf in it. See
// docs/spec/entry.md, section 3.
//
// It takes 11 to 22 bytes per sequence number, and about one second of one core
// to add a million.
type TagTable struct {
	mac  hash.Hash // of the stream's key, set up once
	next uint64    // all sequence numbers below it are in the table
	// slots is an open hash table with linear probing, at most three quarters
	// full. The low bits of a slot are a sequence number plus one. The high
	// bits are a fingerprint of the tag. A match is confirmed by computing the
	// tag.
	slots []uint64
}

const (
	seqBits    = 40 // a log of 2⁴⁰ entries has 72 TB of leaves
	seqMask    = 1<<seqBits - 1
	leastSlots = 1 << 10
)

// NewTagTable returns an empty table for the stream of the key.
func NewTagTable(key *StreamKey) *TagTable {
	return &TagTable{mac: hmac.New(sha256.New, key[:]), slots: make([]uint64, leastSlots)}
}

// Len returns the limit: all sequence numbers below it are in the table.
func (t *TagTable) Len() uint64 { return t.next }

// Extend adds the sequence numbers up to n−1.
func (t *TagTable) Extend(n uint64) {
	t.Reserve(n)
	for ; t.next < n; t.next++ {
		tag := t.tag(t.next)
		t.put(&tag, t.next)
	}
}

// Find returns the sequence number of the tag, if it is in the table.
func (t *TagTable) Find(tag Hash) (seq uint64, ok bool) {
	mask := uint64(len(t.slots) - 1)
	for i := place(&tag) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if slot := t.slots[i]; slot&^seqMask == fingerprint(&tag) {
			if seq = slot&seqMask - 1; t.tag(seq) == tag {
				return seq, true
			}
		}
	}
	return 0, false
}

// Reserve makes room for n sequence numbers. The table does not store tags, so
// growing it computes the existing ones again.
func (t *TagTable) Reserve(n uint64) {
	size := uint64(len(t.slots))
	for size*3/4 < n {
		size *= 2
	}
	if size == uint64(len(t.slots)) {
		return
	}
	t.slots = make([]uint64, size)
	for seq := range t.next {
		tag := t.tag(seq)
		t.put(&tag, seq)
	}
}

func (t *TagTable) put(tag *Hash, seq uint64) {
	mask := uint64(len(t.slots) - 1)
	i := place(tag) & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = fingerprint(tag) | (seq + 1)
}

// tag is StreamKey.Tag.
func (t *TagTable) tag(seq uint64) (tag Hash) {
	const prefix = "muniment/tag/v1\n"
	var in [len(prefix) + 8]byte
	binary.BigEndian.PutUint64(in[copy(in[:], prefix):], seq)
	t.mac.Reset()
	t.mac.Write(in[:])
	t.mac.Sum(tag[:0])
	return tag
}

func place(tag *Hash) uint64       { return binary.LittleEndian.Uint64(tag[:]) }
func fingerprint(tag *Hash) uint64 { return binary.LittleEndian.Uint64(tag[8:]) &^ seqMask }
