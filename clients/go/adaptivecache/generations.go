package adaptivecache

import "sync/atomic"

// generations records which invalidations a member has applied. Loads take a
// token from it, and entries die by it.
type generations struct {
	applied atomic.Uint64 // S of the specification
	floor   atomic.Uint64
	version atomic.Uint64 // grows when an application is complete
	slots   []atomic.Uint64
	seed    uint32
}

func newGenerations(slots int, seed uint32) *generations {
	return &generations{slots: make([]atomic.Uint64, slots), seed: seed}
}

func (g *generations) slot(tag string) uint32 {
	return hash(tag, g.seed) & uint32(len(g.slots)-1)
}

// token returns the token of a load that begins now.
func (g *generations) token() uint64 { return g.applied.Load() }

// apply invalidates the entries of tags, and the results of their loads in
// progress.
func (g *generations) apply(tags []string) {
	s := g.applied.Add(1)
	for _, tag := range tags {
		raise(&g.slots[g.slot(tag)], s)
	}
	g.version.Add(1)
}

// flush invalidates all entries, and the results of all loads in progress.
func (g *generations) flush() {
	raise(&g.floor, g.applied.Add(1))
	g.version.Add(1)
}

// live reports whether no invalidation of the slots has been applied since the
// load with the token began.
func (g *generations) live(token uint64, slots []uint32) bool {
	if token < g.floor.Load() {
		return false
	}
	for _, s := range slots {
		if token < g.slots[s].Load() {
			return false
		}
	}
	return true
}

func raise(n *atomic.Uint64, to uint64) {
	for old := n.Load(); old < to; old = n.Load() {
		if n.CompareAndSwap(old, to) {
			return
		}
	}
}
