package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// Projections are computed in a different order than they are stored. Both are
// summed in buckets, because equal sets have equal sums. Only projections in
// buckets with different sums are looked up one by one.

// projectionBuckets is the number of buckets of keys, of postings and of facts.
const projectionBuckets = 4096

// projectionSums is a multiset hash of projections. Each bucket has their
// number and two sums of keyed hashes.
type projectionSums struct {
	count [sorts]uint64
	seeds [2]maphash.Seed
	sums  []projectionSum // made by the first add
}

// The sorts of projections, in the order of Store.Projections.
const (
	sortKeys = iota
	sortPostings
	sortFacts
	sorts
)

// sortOf returns the sort of a projection.
func sortOf(p *store.Projection) int {
	switch {
	case p.Key != nil:
		return sortKeys
	case p.Posting != nil:
		return sortPostings
	}
	return sortFacts
}

type projectionSum struct{ n, a, b uint64 }

func (s *projectionSums) add(p *store.Projection) {
	if s.sums == nil {
		s.init([2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()})
	}
	var data [25 + entry.HashSize]byte
	sort := sortOf(p)
	s.count[sort]++
	switch sort {
	case sortKeys:
		copy(data[:], p.Key.Key[:])
	case sortPostings:
		copy(data[:], p.Posting.Term[:])
	case sortFacts:
		sum := sha256.Sum256(p.Facts.Facts)
		copy(data[25:], sum[:])
	}
	binary.BigEndian.PutUint64(data[16:], p.Index())
	data[24] = byte(sort)
	b := &s.sums[bucketOf(p)]
	b.n++
	b.a += maphash.Bytes(s.seeds[0], data[:])
	b.b += maphash.Bytes(s.seeds[1], data[:])
}

func (s *projectionSums) init(seeds [2]maphash.Seed) {
	s.seeds, s.sums = seeds, make([]projectionSum, sorts*projectionBuckets)
}

func bucketOf(p *store.Projection) int {
	sort, bucket := sortOf(p), 0
	switch sort {
	case sortKeys:
		bucket = int(binary.BigEndian.Uint16(p.Key.Key[:]) >> 4)
	case sortPostings:
		bucket = int(binary.BigEndian.Uint16(p.Posting.Term[:]) >> 4)
	case sortFacts:
		bucket = int(p.Facts.Index % projectionBuckets)
	}
	return sort*projectionBuckets + bucket
}

// checkProjections compares the stored deduplication keys, postings and stream
// heads with the computed ones. It skips those of damaged entries.
func (k *checker) checkProjections(ctx context.Context) error {
	k.sum.Keys, k.sum.Postings, k.sum.Facts = k.want.count[sortKeys], k.want.count[sortPostings], k.want.count[sortFacts]
	if k.want.sums == nil {
		k.want.init([2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()})
	}
	var have projectionSums
	have.init(k.want.seeds)
	for p, err := range k.Store.Projections(ctx) {
		if err != nil {
			if cerr := ctx.Err(); cerr != nil {
				return cerr
			}
			k.Report(Finding{Kind: "index", Remedy: Rebuild, Problem: "it can't be read: " + reason(err)})
			return k.checkHeads()
		}
		if !k.opaque.has(p.Index()) {
			have.add(&p)
		}
	}
	if differ := differing(&k.want, &have); len(differ) > 0 {
		if err := k.nameProjections(ctx, differ); err != nil {
			return err
		}
	}
	return k.checkHeads()
}

func differing(a, b *projectionSums) map[int]bool {
	out := map[int]bool{}
	for i := range a.sums {
		if a.sums[i] != b.sums[i] {
			out[i] = true
		}
	}
	return out
}

// A projectionFault counts wrong projections of one sort.
type projectionFault struct {
	problem     string
	n           uint64
	first, last uint64 // entries
	stream      *entry.Hash
}

func (f *projectionFault) add(index uint64, stream *entry.Hash) {
	if f.n == 0 {
		f.first, f.last, f.stream = index, index, stream
	}
	f.first, f.last = min(f.first, index), max(f.last, index)
	if stream == nil || f.stream == nil || *stream != *f.stream {
		f.stream = nil
	}
	f.n++
}

// nameProjections reports the missing and wrong projections of some buckets and
// their entries.
func (k *checker) nameProjections(ctx context.Context, differ map[int]bool) error {
	faults := [2][sorts]projectionFault{ // missing, and too many
		{{problem: "deduplication keys are missing"}, {problem: "search postings are missing"}, {problem: "facts are missing"}},
		{{problem: "deduplication keys are not those of their entries"}, {problem: "search postings are not those of their entries"}, {problem: "facts are not those of their entries"}},
	}
	if err := k.findMissing(ctx, differ, &faults[0]); err != nil {
		return err
	}
	if err := k.findExtra(ctx, differ, &faults[1]); err != nil {
		return err
	}
	for i := range faults {
		for j := range faults[i] {
			if f := &faults[i][j]; f.n > 0 {
				of := ""
				if f.first != f.last {
					of = fmt.Sprintf(", the last of entry %d", f.last)
				}
				k.report("index", f.first, f.stream, Rebuild, "%d %s%s", f.n, f.problem, of)
			}
		}
	}
	return nil
}

// findMissing finds computed projections that are not stored.
func (k *checker) findMissing(ctx context.Context, differ map[int]bool, faults *[sorts]projectionFault) error {
	for index := range k.State.Size {
		if k.opaque.has(index) {
			continue
		}
		given, stream, err := k.given(ctx, index)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			continue // reported before
		}
		for i := range given {
			if !differ[bucketOf(&given[i])] {
				continue
			}
			has, err := k.stored(ctx, &given[i])
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if !has {
				faults[sortOf(&given[i])].add(index, stream)
			}
		}
	}
	return nil
}

// findExtra finds stored projections that are not computed.
func (k *checker) findExtra(ctx context.Context, differ map[int]bool, faults *[sorts]projectionFault) error {
	for p, err := range k.Store.Projections(ctx) {
		if err != nil {
			return err
		}
		index := p.Index()
		if k.opaque.has(index) || !differ[bucketOf(&p)] {
			continue
		}
		if index >= k.State.Size {
			faults[sortOf(&p)].add(index, nil)
			continue
		}
		given, stream, err := k.given(ctx, index)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err == nil && !slices.ContainsFunc(given, func(g store.Projection) bool { return order(&g, &p) == 0 }) {
			faults[sortOf(&p)].add(index, stream)
		}
	}
	return nil
}

// given returns the projections of an entry, and its stream.
func (k *checker) given(ctx context.Context, index uint64) (out []store.Projection, stream *entry.Hash, err error) {
	b := &rebuilder{store: k.Store, state: k.State, origin: k.log, ids: k.ids, derive: k.Derive, heads: map[entry.Hash]store.StreamHead{}, report: &ReindexReport{}}
	yield := func(p store.Projection, e error) bool {
		if e != nil {
			err = e
			return false
		}
		if !k.Replica || p.Key == nil {
			out = append(out, p)
		}
		return true
	}
	if k.State.Raw && !k.Replica {
		b.leaves(ctx, index, index+1, yield)
		return out, nil, err
	}
	sk, err := k.Store.Skeletons(ctx, index, index+1)
	if errors.Is(err, store.ErrNotFound) && k.Replica {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	b.entry(ctx, index, &sk[0], yield)
	return out, &sk[0].StreamID, err
}

// stored reports whether the store has the projection.
func (k *checker) stored(ctx context.Context, p *store.Projection) (bool, error) {
	if p.Facts != nil {
		_, err := k.Store.Facts(ctx, p.Facts.Index)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return true, err // findExtra finds others
	}
	if p.Key != nil {
		at, err := k.Store.Lookup(ctx, p.Key.Key)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return at == p.Key.Index, err
	}
	list, err := k.Store.Postings(ctx, p.Posting.Term)
	if err != nil {
		return false, err
	}
	at, ok, err := list.SeekGE(p.Posting.Index)
	return ok && at == p.Posting.Index, errors.Join(err, list.Close())
}

// checkHeads compares the stored stream heads with the computed ones. A damaged
// skeleton makes the end of its stream unknown.
func (k *checker) checkHeads() error {
	if k.State.Raw && !k.Replica || k.bad.any() {
		return nil
	}
	stored := map[entry.Hash]bool{}
	for _, h := range k.storedHeads {
		stored[h.StreamID] = true
		s := k.heads[h.StreamID]
		switch {
		case s == nil:
			k.Report(Finding{Kind: "stream head", Tenant: k.known[h.StreamID].Tenant, Remedy: Rebuild, Problem: fmt.Sprintf("stream %s has no entries", h.StreamID)})
		case s.StreamHead != h:
			k.report("stream head", s.index, &h.StreamID, Rebuild, "the stream ends with number %d, and its head has %d", s.Next-1, h.Next-1)
		}
	}
	for id, s := range k.heads {
		if !stored[id] && !k.unreadableHeads {
			k.report("stream head", s.index, &id, Rebuild, "it is missing")
		}
	}
	return nil
}

// A bitset is a growing set of indexes.
type bitset struct{ words []uint64 }

func (b *bitset) set(i uint64) {
	for uint64(len(b.words)) <= i/64 {
		b.words = append(b.words, 0)
	}
	b.words[i/64] |= 1 << (i % 64)
}

func (b *bitset) has(i uint64) bool {
	return i/64 < uint64(len(b.words)) && b.words[i/64]&(1<<(i%64)) != 0
}

func (b *bitset) any() bool { return len(b.words) > 0 }

func (b *bitset) last() (uint64, bool) {
	if len(b.words) == 0 {
		return 0, false
	}
	at := len(b.words) - 1 // set never leaves an empty word at the end
	return uint64(at)*64 + uint64(bits.Len64(b.words[at])) - 1, true
}

func (b *bitset) all() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for at, w := range b.words {
			for ; w != 0; w &= w - 1 {
				if !yield(uint64(at)*64 + uint64(bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}
