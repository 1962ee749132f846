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
	maxIndexNames  = 200_000 // of a generation
	maxIndexBytes  = 16 << 20
	maxIndexDigest = 400_000
	indexEntries   = 20_000 // read by one call
)

// indexes has the index of each stream that was searched recently.
type indexes struct {
	mu   sync.Mutex
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

// An index has the names and the beginnings of the digests of a stream's
// entries, which the log does not search. It is a projection, and a call adds a
// bounded number of new entries to it.
type index struct {
	used uint64 // guarded by the mutex of indexes

	mu     sync.Mutex // guards the fields below; held while entries are read
	seed   maphash.Seed
	next   uint64 // first index that was not read
	now    *generation
	before *generation // nil: there is none
	lost   bool        // older names were dropped
}

func newIndex() *index {
	return &index{seed: maphash.MakeSeed(), now: newGeneration()}
}

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

// refresh reads new entries, at most a number. An erasure empties the index, so
// that nothing erased stays in memory. It returns how many indexes of the log
// are left to read.
func (x *index) refresh(ctx context.Context, log exception.Log, s *ledger.Stream) (behind uint64, err error) {
	for p, n := log.Published(), 0; ; {
		again, err := x.read(ctx, log, p, s, &n)
		if err != nil || !again {
			return p.Size - min(p.Size, x.next), err
		}
	}
}

// read reads entries until n of them were read. It returns true if the index
// was emptied, and must be read from the beginning.
func (x *index) read(ctx context.Context, log exception.Log, p *ledger.Published, s *ledger.Stream, n *int) (again bool, err error) {
	for e, err := range exception.Entries(ctx, log, p, s, ledger.Filter{}, &x.next) {
		if err != nil {
			return false, err
		}
		if *n >= indexEntries {
			return false, nil
		}
		if *n++; e.Header == nil {
			continue
		}
		if e.Header.Kind == ledger.ErasureKind && x.holds(e) {
			x.now, x.before, x.lost, x.next = newGeneration(), nil, false, 0
			return true, nil
		}
		x.add(e)
	}
	return false, nil
}

// holds reports whether the index can have names of the entry that an erasure
// erases: it was read before the erasure was recorded.
func (x *index) holds(erasure *ledger.Entry) bool {
	at, err := ledger.ErasedBy(erasure)
	if err != nil || erasure.Header.Attributes["scope"] == ledger.ScopePayload {
		return false
	}
	for _, g := range []*generation{x.now, x.before} {
		if g == nil {
			continue
		}
		if slices.Contains(g.entries, at) {
			return true
		}
		for _, index := range g.digests {
			if index == at {
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
