package adaptivecache

import "strings"

const (
	sketchRows  = 4
	promoteFrom = 4
	demoteBelow = 2
	hotShare    = 16 // hot keys weigh at most this part of the maximum
)

// A sketch estimates how often names were used recently, by their hashes.
type sketch struct {
	rows  [sketchRows][]uint8
	added int
}

func newSketch(width int) *sketch {
	s := &sketch{}
	for i := range s.rows {
		s.rows[i] = make([]uint8, width)
	}
	return s
}

// counters returns the counter of each row for a name with the given hash.
func (s *sketch) counters(h uint32) (at [sketchRows]*uint8) {
	g := mix(h^0x9e3779b9) | 1
	for i := range s.rows {
		at[i] = &s.rows[i][(h+uint32(i)*g)&uint32(len(s.rows[i])-1)]
	}
	return at
}

// add counts a use, and reports whether it halved all counters.
func (s *sketch) add(h uint32) (aged bool) {
	for _, counter := range s.counters(h) {
		if *counter < 255 {
			*counter++
		}
	}
	if s.added++; s.added < 8*len(s.rows[0]) {
		return false
	}
	s.added = 0
	for _, row := range s.rows {
		for i := range row {
			row[i] /= 2
		}
	}
	return true
}

func (s *sketch) estimate(h uint32) int {
	least := 255
	for _, counter := range s.counters(h) {
		least = min(least, int(*counter))
	}
	return least
}

// A hotKey is a key whose entry is not evicted.
type hotKey[K comparable] struct {
	key    K
	name   string
	hash   uint32
	weight uint64
}

// A hotSet is the bounded set of hot keys. Its user holds a mutex.
type hotSet[K comparable] struct {
	keys              map[string]*hotKey[K]
	weight            uint64
	maxKeys           int
	maxWeight         uint64
	least             int // no hot key has a lower estimate
	promoted, dropped uint64
}

func (h *hotSet[K]) fits(weight uint64) bool {
	return len(h.keys) < h.maxKeys && h.weight+weight <= h.maxWeight
}

// promote makes a key hot if it fits, at the expense of at most one key that is
// used at most half as much. With a smaller distance, keys of about the same
// use would replace each other all the time.
func (h *hotSet[K]) promote(s *sketch, k hotKey[K]) (demoted *hotKey[K], ok bool) {
	f := s.estimate(k.hash)
	if f < promoteFrom || h.keys[k.name] != nil {
		return nil, false
	}
	if !h.fits(k.weight) {
		if f < 2*h.least {
			return nil, false // estimates grow until the next review
		}
		if demoted = h.coldest(s); demoted == nil {
			return nil, false
		}
		if h.least = s.estimate(demoted.hash); f < 2*h.least {
			return nil, false
		}
		h.demote(demoted)
	}
	if !h.fits(k.weight) {
		return demoted, false
	}
	h.keys[k.name] = &k
	h.weight += k.weight
	h.least = 0
	h.promoted++
	return demoted, true
}

func (h *hotSet[K]) demote(k *hotKey[K]) {
	delete(h.keys, k.name)
	h.weight -= k.weight
	h.dropped++
}

// clear demotes all keys.
func (h *hotSet[K]) clear() {
	h.dropped += uint64(len(h.keys))
	clear(h.keys)
	h.weight, h.least = 0, 0
}

// coldest returns the hot key with the least estimate, and of several the one
// with the least name.
func (h *hotSet[K]) coldest(s *sketch) (coldest *hotKey[K]) {
	least := 0
	for _, k := range h.keys {
		f := s.estimate(k.hash)
		if coldest == nil || f < least || f == least && strings.Compare(k.name, coldest.name) < 0 {
			coldest, least = k, f
		}
	}
	return coldest
}

// review demotes the keys that are not used enough any more.
func (h *hotSet[K]) review(s *sketch) (demoted []*hotKey[K]) {
	h.least = 0
	for _, k := range h.keys {
		if s.estimate(k.hash) < demoteBelow {
			h.demote(k)
			demoted = append(demoted, k)
		}
	}
	return demoted
}
