package views

import (
	"bytes"
	"context"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Bounds of the indexes of names. A generation that is full is followed by
// another, and the two newest are kept.
const (
	maxIndexes     = 64      // streams
	maxIndexNames  = 100_000 // of a generation
	maxIndexBytes  = 8 << 20
	maxIndexDigest = 200_000
	// maxIndexed limits what all indexes hold, by the estimate of
	// generation.size. The largest index gives way to another stream's.
	maxIndexed = 128 << 20
)

// indexes has the index of each stream that was searched recently.
type indexes struct {
	mu   sync.Mutex // guards the rest
	all  map[entry.Hash]*index
	used uint64 // counts searches
}

// of returns the index of a stream.
func (xs *indexes) of(s *ledger.Stream) *index {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	if xs.all == nil {
		xs.all = map[entry.Hash]*index{}
	}
	x := xs.all[s.ID]
	if x == nil {
		if len(xs.all) >= maxIndexes {
			var oldest entry.Hash
			least := xs.used + 1
			for id, other := range xs.all {
				if other.used < least {
					oldest, least = id, other.used
				}
			}
			delete(xs.all, oldest)
		}
		x = newIndex()
		xs.all[s.ID] = x
	}
	xs.used++
	x.used = xs.used
	return x
}

// grown notes the size of a stream's index. While the indexes hold too much,
// the largest of the others is dropped. A stream with many names thus loses its
// own index, and not those of streams with few.
func (xs *indexes) grown(x *index, size int64) {
	xs.mu.Lock()
	defer xs.mu.Unlock()
	x.size = size
	for {
		total := int64(0)
		var largest entry.Hash
		most := int64(-1)
		for id, other := range xs.all {
			if total += other.size; other != x && other.size > most {
				largest, most = id, other.size
			}
		}
		if total <= maxIndexed || most < 0 {
			return
		}
		delete(xs.all, largest)
	}
}

// An index has the names and the beginnings of the digests of a stream's
// entries, which the log does not search.
type index struct {
	used uint64 // guarded by the mutex of indexes
	size int64  // in bytes; guarded likewise

	projection
	seed   maphash.Seed
	now    *generation
	before *generation // nil: there is none
	lost   bool        // older names were dropped
}

func newIndex() *index { return &index{projection: newProjection(), seed: maphash.MakeSeed()} }

// A generation has what a range of entries contains.
type generation struct {
	text    []byte // lower-case names, each followed by a line feed
	ends    []int  // of each name, in text
	entries []uint64
	known   map[uint64]int // hash of a name with its digest → position
	digests map[uint64]uint64
}

func newGeneration() *generation {
	return &generation{known: map[uint64]int{}, digests: map[uint64]uint64{}}
}

func (g *generation) full() bool {
	return len(g.ends) >= maxIndexNames || len(g.text) >= maxIndexBytes || len(g.digests) >= maxIndexDigest
}

// size returns about how many bytes a generation holds.
func (g *generation) size() int64 {
	return int64(len(g.text)) + 64*int64(len(g.ends)) + 48*int64(len(g.digests))
}

// bytes returns about how many bytes the index holds.
func (x *index) bytes() (n int64) {
	for _, g := range []*generation{x.now, x.before} {
		if g != nil {
			n += g.size()
		}
	}
	return n
}

// refresh reads new entries. It returns how many indexes of the log are left.
func (x *index) refresh(ctx context.Context, log exception.Log, s *ledger.Stream) (behind uint64, err error) {
	p := log.Published()
	if x.started {
		indexes, all, err := x.erased(ctx, log, p, s)
		if err != nil {
			return 0, err
		}
		x.started = !all && !x.holds(indexes)
	}
	if !x.started {
		x.start(p, 0)
		x.now, x.before, x.lost = newGeneration(), nil, false
	}
	for e, err := range some(ctx, log, p, s, ledger.Filter{}, &x.next) {
		if err != nil {
			return 0, err
		}
		if e.Header != nil {
			x.add(e)
		}
	}
	return x.behind(p), nil
}

// holds reports whether the index has names or digests of one of the entries.
func (x *index) holds(indexes map[uint64]bool) bool {
	if len(indexes) == 0 {
		return false
	}
	for _, g := range []*generation{x.now, x.before} {
		if g == nil {
			continue
		}
		for _, at := range g.entries {
			if indexes[at] {
				return true
			}
		}
		for _, at := range g.digests {
			if indexes[at] {
				return true
			}
		}
	}
	return false
}

func (x *index) add(e *ledger.Entry) {
	if x.now.full() {
		x.lost = x.lost || x.before != nil
		x.before, x.now = x.now, newGeneration()
	}
	for _, list := range [][]entry.Subject{e.Header.Subjects, e.Header.Materials} {
		for i := range list {
			x.addArtifact(e.Index, &list[i])
		}
	}
	for _, s := range e.Header.Signers {
		x.addName(e.Index, s.Identity, "")
	}
	x.addName(e.Index, e.Header.Submitter, "")
}

func (x *index) addArtifact(at uint64, s *entry.Subject) {
	first := ""
	for alg, value := range s.Digest {
		_, value = entry.FoldDigest(alg, value)
		if first == "" || value < first {
			first = value
		}
		if begin, ok := beginning(value); ok && len(value) >= 16 {
			x.now.digests[begin] = at
		}
	}
	x.addName(at, s.Name, first)
}

// beginning returns the first 16 digits of a hexadecimal text as a number.
func beginning(digits string) (n uint64, ok bool) {
	var b [8]byte
	if len(digits) < 16 {
		return 0, false
	}
	if _, err := hex.Decode(b[:], []byte(digits[:16])); err != nil {
		return 0, false
	}
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n, true
}

func (x *index) addName(at uint64, name, digest string) {
	if name == "" {
		return
	}
	name = strings.ToLower(strings.ReplaceAll(name, "\n", " "))
	g := x.now
	key := maphash.String(x.seed, name+"\n"+digest)
	if i, ok := g.known[key]; ok {
		g.entries[i] = at
		return
	}
	g.known[key] = len(g.ends)
	g.text = append(append(g.text, name...), '\n')
	g.ends = append(g.ends, len(g.text))
	g.entries = append(g.entries, at)
}

// names returns the entries with names that contain a text, the newest first,
// at most a number.
func (x *index) names(text string, most int) (all []uint64, more bool) {
	want := []byte(strings.ToLower(text))
	for _, g := range []*generation{x.now, x.before} {
		if g == nil {
			continue
		}
		for from := 0; from < len(g.text); {
			at := bytes.Index(g.text[from:], want)
			if at < 0 {
				break
			}
			i, exact := slices.BinarySearch(g.ends, from+at)
			if exact { // at the beginning of the next name
				i++
			}
			all = append(all, g.entries[i])
			from = g.ends[i]
		}
	}
	return newest(all, most)
}

// beginnings returns the entries with digests that begin with hexadecimal
// digits, the newest first, at most a number.
func (x *index) beginnings(digits string, most int) (all []uint64, more bool) {
	padded := digits[:min(len(digits), 16)]
	low, ok := beginning(padded + strings.Repeat("0", 16-len(padded)))
	high, _ := beginning(padded + strings.Repeat("f", 16-len(padded)))
	if !ok {
		return nil, false
	}
	for _, g := range []*generation{x.now, x.before} {
		if g == nil {
			continue
		}
		for begin, at := range g.digests {
			if begin >= low && begin <= high {
				all = append(all, at)
			}
		}
	}
	return newest(all, most)
}

// newest sorts indexes, the largest first, and removes repetitions.
func newest(all []uint64, most int) ([]uint64, bool) {
	slices.SortFunc(all, func(a, b uint64) int {
		if a > b {
			return -1
		}
		return 1
	})
	all = slices.Compact(all)
	return first(all, most), len(all) > most
}
