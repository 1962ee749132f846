package ledger

import (
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A naiveTree is the Merkle tree of RFC 6962, section 2.1, written down as the
// RFC defines it: the model that the ledger is compared with.
type naiveTree struct {
	leaves []entry.Hash
	known  map[[2]uint64]entry.Hash // roots of full subtrees, which are asked for often
}

func newNaiveTree(leaves []entry.Hash) *naiveTree {
	return &naiveTree{leaves, map[[2]uint64]entry.Hash{}}
}

// split returns the largest power of two smaller than n.
func split(n uint64) uint64 {
	k := uint64(1)
	for k*2 < n {
		k *= 2
	}
	return k
}

// mth is MTH(D[lo:hi]).
func (t *naiveTree) mth(lo, hi uint64) entry.Hash {
	n := hi - lo
	switch n {
	case 0:
		return emptyRoot
	case 1:
		return t.leaves[lo]
	}
	full := n&(n-1) == 0
	if h, ok := t.known[[2]uint64{lo, hi}]; ok && full {
		return h
	}
	k := lo + split(n)
	left, right := t.mth(lo, k), t.mth(k, hi)
	h := entry.NodeHash(&left, &right)
	if full {
		t.known[[2]uint64{lo, hi}] = h
	}
	return h
}

func (t *naiveTree) root(size uint64) entry.Hash { return t.mth(0, size) }

// inclusion is PATH(index, D[0:size]).
func (t *naiveTree) inclusion(index, size uint64) []entry.Hash { return t.path(index, 0, size) }

func (t *naiveTree) path(m, lo, hi uint64) []entry.Hash {
	n := hi - lo
	if n == 1 {
		return nil
	}
	k := split(n)
	if m < k {
		return append(t.path(m, lo, lo+k), t.mth(lo+k, hi))
	}
	return append(t.path(m-k, lo+k, hi), t.mth(lo, lo+k))
}

// consistency is PROOF(from, D[0:to]).
func (t *naiveTree) consistency(from, to uint64) []entry.Hash {
	if from == 0 || from == to {
		return nil
	}
	return t.subproof(from, 0, to, true)
}

func (t *naiveTree) subproof(m, lo, hi uint64, whole bool) []entry.Hash {
	n := hi - lo
	if m == n {
		if whole {
			return nil
		}
		return []entry.Hash{t.mth(lo, hi)}
	}
	k := split(n)
	if m <= k {
		return append(t.subproof(m, lo, lo+k, whole), t.mth(lo+k, hi))
	}
	return append(t.subproof(m-k, lo+k, hi, false), t.mth(lo, lo+k))
}

// tile is the tile of C2SP tlog-tiles at the level and index in the tree of the
// size: up to 256 hashes of full subtrees of 256^level leaves.
func (t *naiveTree) tile(size uint64, level uint8, index uint64) []entry.Hash {
	span := uint64(1) << (8 * level)
	var hashes []entry.Hash
	for i := index * store.TileWidth; i < (index+1)*store.TileWidth && (i+1)*span <= size; i++ {
		hashes = append(hashes, t.mth(i*span, (i+1)*span))
	}
	return hashes
}
