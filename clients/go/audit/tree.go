package audit

import (
	"math/bits"

	"muniment.dev/muniment/ledger/entry"
)

// A tree of size n is a sequence of perfect subtrees, one for each bit set in
// n, largest first. Their roots are the tree's peaks, which suffice to compute
// the root and to extend the tree. A tile covers eight levels of the tree.
// Therefore byte l of n is the number of hashes in the last tile at level l,
// and its bits are the peaks in that tile.

// width returns the number of hashes in the last, partial tile at the level in
// a tree of the given size.
func width(size uint64, level int) int { return int(size >> (8 * level) & 0xFF) }

// levels returns the number of tile levels in a tree of the given size.
func levels(size uint64) int { return (bits.Len64(size) + 7) / 8 }

// subtree returns the root of the perfect subtree over the hashes, whose number
// must be a power of two. It overwrites them.
func subtree(hashes []entry.Hash) entry.Hash {
	for n := len(hashes) / 2; n > 0; n /= 2 {
		for i := range n {
			hashes[i] = entry.NodeHash(&hashes[2*i], &hashes[2*i+1])
		}
	}
	return hashes[0]
}

// peaks returns the roots of the perfect subtrees over the hashes of a partial
// tile.
func peaks(hashes []entry.Hash) []entry.Hash {
	var out []entry.Hash
	work := append([]entry.Hash(nil), hashes...)
	for len(work) > 0 {
		n := 1 << (bits.Len(uint(len(work))) - 1)
		out = append(out, subtree(work[:n]))
		work = work[n:]
	}
	return out
}

// rootOf returns the root of the tree with the given peaks. There must be at
// least one.
func rootOf(peaks []entry.Hash) entry.Hash {
	root := peaks[len(peaks)-1]
	for i := len(peaks) - 2; i >= 0; i-- {
		root = entry.NodeHash(&peaks[i], &root)
	}
	return root
}

// splitPeaks returns, for each level of tiles, the peaks that lie in its last
// tile.
func splitPeaks(size uint64, peaks []entry.Hash) [][]entry.Hash {
	out := make([][]entry.Hash, levels(size))
	for l := len(out) - 1; l >= 0; l-- {
		n := bits.OnesCount(uint(width(size, l)))
		out[l], peaks = peaks[:n:n], peaks[n:]
	}
	return out
}

func hashesOf(tile []byte) []entry.Hash {
	out := make([]entry.Hash, len(tile)/entry.HashSize)
	for i := range out {
		out[i] = entry.Hash(tile[i*entry.HashSize:])
	}
	return out
}
