package ledger

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// A keyFilter recognizes new submissions in memory. Nearly all are new, and
// without the filter each append would search the store for a missing key.
//
// It consists of the store's filter and of layers with the keys that were added
// since. When a layer is full, the filter takes the store's filter again and
// drops the layers that this contains, so its memory does not grow with the
// log. So it does after commits of other servers, when a key is asked for.
// While it lacks keys of published entries, every key is searched for in the
// store.
//
// The sequencer adds a key before it publishes the entry. Other goroutines may
// query the filter at any time.
type keyFilter struct {
	index     store.Index
	log       *slog.Logger
	layerKeys int
	full      chan struct{} // capacity 1; signals that a layer is full

	changing sync.Mutex                  // held to replace parts
	parts    atomic.Pointer[filterParts] // never nil
	// followed counts how often commits of other servers were followed. The
	// filter lacks their keys until the store's filter is taken again.
	followed atomic.Uint64
	behind   chan struct{} // capacity 1; signals that the filter lacks keys
}

// filterParts do not change, except that the sequencer adds keys to the last
// layer.
type filterParts struct {
	stored   store.KeyFilter // nil: not loaded
	followed uint64          // count of followed commits whose keys are in stored
	layers   []*filterLayer  // oldest first
}

// A filterLayer is a Bloom filter (doi:10.1145/362686.362692).
type filterLayer struct {
	words []atomic.Uint64
	left  int // keys that may still be added; for the sequencer only
}

const (
	// filterLayerKeys is the number of keys in a full layer. It is far above
	// the number of entries in commits that are under way. A power of two, so
	// that a mask replaces the modulo.
	filterLayerKeys = 1 << 20
	// filterBitsPerKey and filterProbes give 0.1 % false positives.
	filterBitsPerKey = 16
	filterProbes     = 7
	// filterPause is the shortest time between two loads of the store's filter.
	filterPause = 100 * time.Millisecond
)

func newKeyFilter(s store.Index, layerKeys int, log *slog.Logger) *keyFilter {
	f := &keyFilter{index: s, layerKeys: layerKeys, full: make(chan struct{}, 1), behind: make(chan struct{}, 1), log: log}
	f.parts.Store(&filterParts{layers: []*filterLayer{f.newLayer()}})
	return f
}

func (f *keyFilter) newLayer() *filterLayer {
	return &filterLayer{words: make([]atomic.Uint64, f.layerKeys*filterBitsPerKey/64), left: f.layerKeys}
}

// run takes the store's filter now, whenever a layer is full, and when a key is
// asked for after commits of other servers. It pauses in between, so that
// servers that record in turn do not read all keys all the time.
func (f *keyFilter) run(ctx context.Context) {
	for {
		begun := time.Now()
		f.load(ctx)
		pause := time.After(max(filterPause, 10*time.Since(begun)))
		select {
		case <-f.full:
		case <-f.behind:
		case <-ctx.Done():
			return
		}
		select {
		case <-pause:
		case <-ctx.Done():
			return
		}
	}
}

// load takes the store's filter. All layers but the last two were full before
// the commits that are under way, so their keys are in the store.
func (f *keyFilter) load(ctx context.Context) {
	old := len(f.parts.Load().layers) - 2
	followed := f.followed.Load() // whose keys are in the store
	stored, err := f.index.KeyFilter(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.log.Warn("cannot filter new submissions in memory; searching the store for each", "err", err)
		}
		stored = nil
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	f.parts.Store(&filterParts{stored, followed, f.parts.Load().layers[max(old, 0):]})
}

// add adds the key to the last layer. Only the sequencer calls it.
func (f *keyFilter) add(k store.Key) {
	layers := f.parts.Load().layers
	last := layers[len(layers)-1]
	if last.left == 0 {
		last = f.addLayer()
	}
	last.left--
	last.probe(k, func(w *atomic.Uint64, bit uint64) bool {
		w.Or(bit)
		return true
	})
}

func (f *keyFilter) addLayer() *filterLayer {
	f.changing.Lock()
	defer f.changing.Unlock()
	p, l := f.parts.Load(), f.newLayer()
	f.parts.Store(&filterParts{p.stored, p.followed, append(p.layers[:len(p.layers):len(p.layers)], l)})
	signal(f.full)
	return l
}

// mayHave reports whether the key may have been added, or may be in the store.
func (f *keyFilter) mayHave(k store.Key) bool {
	p := f.parts.Load()
	if p.followed != f.followed.Load() {
		signal(f.behind)
		return true
	}
	for _, l := range p.layers {
		if l.probe(k, func(w *atomic.Uint64, bit uint64) bool { return w.Load()&bit != 0 }) {
			return true
		}
	}
	return p.stored == nil || p.stored.MayHave(&k)
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
