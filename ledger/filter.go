package ledger

import (
	"context"
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"muniment.dev/muniment/ledger/store"
)

// A keyFilter recognizes new submissions in memory. Nearly all are new, and
// without the filter each append would search the store for a missing key. It
// is a Bloom filter (doi:10.1145/362686.362692) whose layers double, so it
// grows with the log. It takes 10 to 20 bits per entry. Each full layer has a
// rate of false positives of 1 %, and each of those costs one look-up in the
// store.
//
// The sequencer adds a key before it publishes the entry. Other goroutines may
// query the filter at any time.
type keyFilter struct {
	layers atomic.Pointer[[]*filterLayer] // replaced by the sequencer when the last one is full
}

type filterLayer struct {
	words []atomic.Uint64
	left  int // keys that may still be added; for the sequencer only
}

const (
	filterMinKeys    = 1 << 18
	filterBitsPerKey = 10
	filterProbes     = 7 // 10·ln 2
)

func newFilterLayer(keys int) *filterLayer {
	// a power of two, so that a mask replaces the modulo
	words := 1 << bits.Len(uint(max(keys, filterMinKeys)*filterBitsPerKey/64))
	return &filterLayer{words: make([]atomic.Uint64, words), left: words * 64 / filterBitsPerKey}
}

// loadKeyFilter reads all keys of the store.
func loadKeyFilter(ctx context.Context, s store.Index, size uint64) (*keyFilter, error) {
	f := &keyFilter{}
	f.layers.Store(&[]*filterLayer{newFilterLayer(int(size + size/2))})
	for p, err := range s.Projections(ctx) {
		if err != nil {
			return nil, err
		}
		if p.Key == nil {
			break // postings follow
		}
		f.add(p.Key.Key)
	}
	return f, nil
}

// add adds the key to the last layer. Only the sequencer calls it.
func (f *keyFilter) add(k store.Key) {
	layers := *f.layers.Load()
	last := layers[len(layers)-1]
	if last.left == 0 {
		last = newFilterLayer(2 * len(last.words) * 64 / filterBitsPerKey)
		grown := append(append([]*filterLayer(nil), layers...), last)
		f.layers.Store(&grown)
	}
	last.left--
	last.probe(k, func(w *atomic.Uint64, bit uint64) bool {
		w.Or(bit)
		return true
	})
}

// mayHave reports whether the key may have been added.
func (f *keyFilter) mayHave(k store.Key) bool {
	for _, l := range *f.layers.Load() {
		if l.probe(k, func(w *atomic.Uint64, bit uint64) bool { return w.Load()&bit != 0 }) {
			return true
		}
	}
	return false
}

// probe calls f for each bit of the key until f returns false. It reports
// whether f always returned true. The key is an HMAC, so its two halves are
// enough for all hash functions (doi:10.1007/11841036_42).
func (l *filterLayer) probe(k store.Key, f func(w *atomic.Uint64, bit uint64) bool) bool {
	a, b := binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])|1
	mask := uint64(len(l.words)*64 - 1)
	for range filterProbes {
		at := a & mask
		if !f(&l.words[at/64], 1<<(at%64)) {
			return false
		}
		a += b
	}
	return true
}
