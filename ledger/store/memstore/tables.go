package memstore

import (
	"cmp"
	"errors"
	"slices"
	"sync"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// tables is all that a store holds. It takes over the slices that it is given
// and never writes to them, so the same change can run again on other tables.
type tables struct {
	size        uint64
	root        entry.Hash
	time        uint64   // of the last entry
	leaves      [][]byte // of a raw log, which has none of the next three
	skeletons   []entry.Skeleton
	headers     []*receipt.HeaderOpening  // nil when erased
	payloads    []*receipt.PayloadOpening // nil when erased
	tiles       map[tileID][]entry.Hash
	heads       map[entry.Hash]store.StreamHead
	keys        map[store.Key]uint64
	postings    map[store.Term][]uint64 // increasing
	facts       map[uint64][]byte
	checkpoints []store.Checkpoint  // by size
	cosigned    []store.Checkpoint  // by size
	ids         map[uint64][16]byte // of commits, by their first entry
	large       map[uint64]bool     // the entry's payload was written with CreatePayload
	unpurged    map[uint64]bool
}

type tileID struct {
	level uint8
	index uint64
}

func newTables() *tables {
	return &tables{
		tiles:    map[tileID][]entry.Hash{},
		heads:    map[entry.Hash]store.StreamHead{},
		keys:     map[store.Key]uint64{},
		postings: map[store.Term][]uint64{},
		facts:    map[uint64][]byte{},
		ids:      map[uint64][16]byte{},
		large:    map[uint64]bool{},
		unpurged: map[uint64]bool{},
	}
}

// state returns the tree head and the last entry's time.
func (t *tables) state() store.State {
	return store.State{Size: t.size, Root: t.root, Time: t.time}
}

func (t *tables) commit(c *store.Commit) {
	t.ids[c.From] = c.ID
	t.erase(c.Erase)
	for index := range c.LargePayloads() {
		t.large[index] = true
	}
	t.size += uint64(c.Len())
	t.root = c.Root
	t.time = c.Time()
	for i := range c.Leaves {
		t.leaves = append(t.leaves, c.Leaves[i].Data)
		t.record(c.Leaves[i].Record)
	}
	for i := range c.Entries {
		t.skeletons = append(t.skeletons, c.Entries[i].Skeleton)
		header, payload := &c.Entries[i].Header, &c.Entries[i].Payload
		if c.Entries[i].NoHeader {
			header = nil
		}
		if c.Entries[i].NoPayload {
			payload = nil
		}
		t.headers, t.payloads = append(t.headers, header), append(t.payloads, payload)
	}
	for _, tile := range c.Tiles {
		t.tiles[tileID{tile.Level, tile.Index}] = tile.Hashes
	}
	if c.Checkpoint != nil {
		t.checkpoints = putBySize(t.checkpoints, *c.Checkpoint)
	}
	for _, older := range c.Older {
		t.checkpoints = putBySize(t.checkpoints, older)
	}
	t.project(c.Keys, c.Postings, c.Facts, c.Heads)
}

// record keeps the record of a leaf, or that it has none.
func (t *tables) record(r *store.Record) {
	if r == nil {
		r = &store.Record{}
	}
	t.skeletons, t.headers, t.payloads = append(t.skeletons, r.Skeleton), append(t.headers, r.Header), append(t.payloads, r.Payload)
}

// noRecord reports whether one of the entries of a raw log has nothing but its
// leaf.
func (t *tables) noRecord(from, to uint64) bool {
	return slices.ContainsFunc(t.skeletons[from:to], func(s entry.Skeleton) bool { return s.StreamID == entry.Hash{} })
}

func putBySize(list []store.Checkpoint, c store.Checkpoint) []store.Checkpoint {
	i, found := slices.BinarySearchFunc(list, c.Size, bySize)
	if found {
		list[i] = c
		return list
	}
	return slices.Insert(list, i, c)
}

func (t *tables) erase(erasures []store.Erasure) {
	for _, e := range erasures {
		t.payloads[e.Index] = nil
		delete(t.large, e.Index)
		delete(t.facts, e.Index)
		t.unpurged[e.Index] = true
		if e.Header {
			t.headers[e.Index] = nil
		}
		for _, k := range e.Keys {
			if t.keys[k] == e.Index {
				delete(t.keys, k)
			}
		}
		for _, term := range e.Terms {
			t.postings[term] = slices.DeleteFunc(slices.Clone(t.postings[term]), func(i uint64) bool { return i == e.Index })
			if len(t.postings[term]) == 0 {
				delete(t.postings, term)
			}
		}
	}
}

func (t *tables) project(keys []store.KeyAt, postings []store.PostingAt, facts []store.FactsAt, heads []store.StreamHead) {
	for _, k := range keys {
		t.keys[k.Key] = k.Index
	}
	touched := map[store.Term]bool{}
	for _, p := range postings {
		t.postings[p.Term] = append(t.postings[p.Term], p.Index)
		touched[p.Term] = true
	}
	for term := range touched {
		slices.Sort(t.postings[term])
	}
	for _, f := range facts {
		t.facts[f.Index] = f.Facts
	}
	for _, h := range heads {
		t.heads[h.StreamID] = h
	}
}

func bySize(c store.Checkpoint, size uint64) int { return cmp.Compare(c.Size, size) }

func clone(c *store.Commit) *store.Commit {
	k := *c
	k.Entries = slices.Clone(c.Entries)
	for i := range k.Entries {
		k.Entries[i].Header = *cloneHeader(&k.Entries[i].Header)
		k.Entries[i].Payload = *clonePayload(&k.Entries[i].Payload)
	}
	k.Leaves = slices.Clone(c.Leaves)
	for i := range k.Leaves {
		l := &k.Leaves[i]
		l.Data = slices.Clone(l.Data)
		if r := l.Record; r != nil {
			l.Record = &store.Record{Skeleton: r.Skeleton, Header: cloneHeader(r.Header), Payload: clonePayload(r.Payload), Large: r.Large}
		}
	}
	k.Tiles = slices.Clone(c.Tiles)
	for i := range k.Tiles {
		k.Tiles[i].Hashes = slices.Clone(k.Tiles[i].Hashes)
	}
	k.Heads = slices.Clone(c.Heads)
	k.Keys = slices.Clone(c.Keys)
	k.Postings = slices.Clone(c.Postings)
	k.Facts = slices.Clone(c.Facts)
	for i := range k.Facts {
		k.Facts[i].Facts = slices.Clone(k.Facts[i].Facts)
	}
	k.Erase = cloneErasures(c.Erase)
	if c.Checkpoint != nil {
		k.Checkpoint = &store.Checkpoint{Size: c.Checkpoint.Size, Signed: slices.Clone(c.Checkpoint.Signed)}
	}
	k.Older = slices.Clone(c.Older)
	for i := range k.Older {
		k.Older[i].Signed = slices.Clone(k.Older[i].Signed)
	}
	return &k
}

func cloneErasures(erasures []store.Erasure) []store.Erasure {
	k := slices.Clone(erasures)
	for i := range k {
		k[i].Keys, k[i].Terms = slices.Clone(k[i].Keys), slices.Clone(k[i].Terms)
	}
	return k
}

func cloneHeader(h *receipt.HeaderOpening) *receipt.HeaderOpening {
	if h == nil {
		return nil
	}
	return &receipt.HeaderOpening{Salt: h.Salt, Content: append([]byte{}, h.Content...)}
}

func clonePayload(p *receipt.PayloadOpening) *receipt.PayloadOpening {
	if p == nil {
		return nil
	}
	// never nil: empty is not absent
	return &receipt.PayloadOpening{Salt: p.Salt, Content: append([]byte{}, p.Content...)}
}

// list implements store.Postings.
type list struct {
	indexes []uint64
	done    func()
	once    sync.Once
	closed  bool
}

var errListClosed = errors.New("the postings are closed")

func (l *list) SeekGE(i uint64) (uint64, bool, error) {
	if l.closed {
		return 0, false, errListClosed
	}
	at, _ := slices.BinarySearch(l.indexes, i)
	if at == len(l.indexes) {
		return 0, false, nil
	}
	return l.indexes[at], true, nil
}

func (l *list) SeekLE(i uint64) (uint64, bool, error) {
	if l.closed {
		return 0, false, errListClosed
	}
	at, found := slices.BinarySearch(l.indexes, i)
	if found {
		return i, true, nil
	}
	if at == 0 {
		return 0, false, nil
	}
	return l.indexes[at-1], true, nil
}

func (l *list) Close() error {
	l.closed = true
	l.once.Do(l.done)
	return nil
}
