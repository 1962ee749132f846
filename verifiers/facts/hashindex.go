package facts

import "hash/maphash"

// A hashIndex finds elements of a list by the hash of a key. A decision reads
// tens of thousands of them, and a map of the keys themselves would cost most
// of its memory. Hashes can be equal by chance, so the reader compares keys.
type hashIndex struct {
	seed maphash.Seed
	last map[uint64]int32 // the element that was added last, plus 1
	next []int32          // for each element: the one added before, plus 1
	key  []byte           // that is hashed
}

// newHashIndex returns an index of elements 0 ≤ i < n.
func newHashIndex(n int) *hashIndex {
	return &hashIndex{seed: maphash.MakeSeed(), last: make(map[uint64]int32, n), next: make([]int32, n)}
}

// hash returns the hash of a key of several texts.
func (x *hashIndex) hash(texts ...string) uint64 {
	x.key = x.key[:0]
	for _, s := range texts {
		x.key = append(append(x.key, s...), 0xFF) // no UTF-8 has this byte
	}
	return maphash.Bytes(x.seed, x.key)
}

// hashFolded is hash of two texts, the first without regard to ASCII case.
func (x *hashIndex) hashFolded(folded, s string) uint64 {
	x.key = append(x.key[:0], folded...)
	for i, c := range x.key {
		x.key[i] = lowerByte(c)
	}
	x.key = append(append(x.key, 0xFF), s...)
	return maphash.Bytes(x.seed, x.key)
}

// add adds element i under a hash.
func (x *hashIndex) add(hash uint64, i int) {
	x.next[i] = x.last[hash]
	x.last[hash] = int32(i + 1)
}

// first returns the element that was added last under a hash, or -1.
func (x *hashIndex) first(hash uint64) int { return int(x.last[hash]) - 1 }

// after returns the element that was added before element i under its hash, or
// -1.
func (x *hashIndex) after(i int) int { return int(x.next[i]) - 1 }
