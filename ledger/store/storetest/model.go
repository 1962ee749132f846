package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A Model is what a store must hold after some commits, in plain slices and
// maps. It keeps the commits that it is given.
type Model struct {
	raw         bool
	entries     []store.Entry
	leaves      []store.Leaf
	root        entry.Hash
	time        uint64 // of the last entry
	tiles       map[tileID][]entry.Hash
	heads       map[entry.Hash]store.StreamHead
	keys        map[store.Key]uint64
	postings    map[store.Term][]uint64 // increasing
	facts       map[uint64][]byte
	checkpoints map[uint64][]byte
	erased      map[uint64]bool // payload
	headless    map[uint64]bool // header, too
	unpurged    map[uint64]bool

	// AnyUnpurged makes Check not compare how many erasures wait for
	// a purge, as after a crash.
	AnyUnpurged bool
}

type tileID struct {
	level uint8
	index uint64
}

// NewModel returns the model of a new store.
func NewModel() *Model {
	return &Model{
		tiles:       map[tileID][]entry.Hash{},
		heads:       map[entry.Hash]store.StreamHead{},
		keys:        map[store.Key]uint64{},
		postings:    map[store.Term][]uint64{},
		facts:       map[uint64][]byte{},
		checkpoints: map[uint64][]byte{},
		erased:      map[uint64]bool{},
		headless:    map[uint64]bool{},
		unpurged:    map[uint64]bool{},
	}
}

// NewRawModel returns the model of a new store of a raw log.
func NewRawModel() *Model {
	m := NewModel()
	m.raw = true
	return m
}

// Size returns how many entries the model has.
func (m *Model) Size() uint64 { return uint64(len(m.entries) + len(m.leaves)) }

// Commit adds a commit.
func (m *Model) Commit(c *store.Commit) {
	m.Erase(c.Erase)
	for i := range c.Entries {
		index := c.From + uint64(i)
		if c.Entries[i].NoPayload {
			m.erased[index] = true
		}
		if c.Entries[i].NoHeader {
			m.headless[index] = true
		}
	}
	m.entries = append(m.entries, c.Entries...)
	m.leaves = append(m.leaves, c.Leaves...)
	m.root, m.time = c.Root, c.Time()
	for _, t := range c.Tiles {
		m.tiles[tileID{t.Level, t.Index}] = t.Hashes
	}
	if c.Checkpoint != nil {
		m.checkpoints[c.Checkpoint.Size] = c.Checkpoint.Signed
	}
	for _, older := range c.Older {
		m.checkpoints[older.Size] = older.Signed
	}
	for _, h := range c.Heads {
		m.heads[h.StreamID] = h
	}
	for _, k := range c.Keys {
		m.keys[k.Key] = k.Index
	}
	for _, p := range c.Postings {
		m.postings[p.Term] = append(m.postings[p.Term], p.Index)
		slices.Sort(m.postings[p.Term])
	}
	for _, f := range c.Facts {
		m.facts[f.Index] = f.Facts
	}
}

// Erase makes erasures.
func (m *Model) Erase(erasures []store.Erasure) {
	for _, e := range erasures {
		m.erased[e.Index], m.unpurged[e.Index] = true, true
		delete(m.facts, e.Index)
		if e.Header {
			m.headless[e.Index] = true
		}
		for _, k := range e.Keys {
			if m.keys[k] == e.Index {
				delete(m.keys, k)
			}
		}
		for _, t := range e.Terms {
			m.postings[t] = slices.DeleteFunc(m.postings[t], func(i uint64) bool { return i == e.Index })
		}
	}
}

// Large returns how many large payloads there are.
func (m *Model) Large() (n int) {
	for i := range m.entries {
		if m.entries[i].Large != nil && !m.erased[uint64(i)] {
			n++
		}
	}
	return n
}

// Purge notes that what was erased has left the disk.
func (m *Model) Purge() { clear(m.unpurged) }

// ReplaceProjections replaces all keys, postings, facts and stream heads.
func (m *Model) ReplaceProjections(projections []store.Projection, heads []store.StreamHead) {
	clear(m.heads)
	clear(m.keys)
	clear(m.postings)
	clear(m.facts)
	for _, h := range heads {
		m.heads[h.StreamID] = h
	}
	for _, p := range projections {
		switch {
		case p.Key != nil:
			m.keys[p.Key.Key] = p.Key.Index
		case p.Facts != nil:
			m.facts[p.Facts.Index] = p.Facts.Facts
		default:
			m.postings[p.Posting.Term] = append(m.postings[p.Posting.Term], p.Posting.Index)
		}
	}
	for _, indexes := range m.postings {
		slices.Sort(indexes)
	}
}

// Projections returns all keys, postings and facts in the order that a store
// returns them.
func (m *Model) Projections() []store.Projection {
	var out []store.Projection
	for k, i := range m.keys {
		out = append(out, store.Projection{Key: &store.KeyAt{Key: k, Index: i}})
	}
	for t, indexes := range m.postings {
		for _, i := range indexes {
			out = append(out, store.Projection{Posting: &store.PostingAt{Term: t, Index: i}})
		}
	}
	for i, f := range m.facts {
		out = append(out, store.Projection{Facts: &store.FactsAt{Index: i, Facts: f}})
	}
	slices.SortFunc(out, func(a, b store.Projection) int {
		switch {
		case a.Facts != nil && b.Facts != nil:
			return cmp.Compare(a.Facts.Index, b.Facts.Index)
		case a.Facts != nil:
			return 1
		case b.Facts != nil:
			return -1
		case a.Key != nil && b.Key != nil:
			return bytes.Compare(a.Key.Key[:], b.Key.Key[:])
		case a.Key != nil:
			return -1
		case b.Key != nil:
			return 1
		}
		return cmp.Or(bytes.Compare(a.Posting.Term[:], b.Posting.Term[:]), cmp.Compare(a.Posting.Index, b.Posting.Index))
	})
	return out
}

// Check reads all that the store should hold, on every read path, and returns
// the first difference from the model.
func (m *Model) Check(ctx context.Context, s store.Store) error {
	for _, check := range []func(context.Context, store.Store) error{
		m.checkEntries, m.checkTiles, m.checkCheckpoints, m.checkHeads, m.checkKeys, m.checkPostings, m.checkFacts, m.checkProjections,
	} {
		if err := check(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// CheckState compares what Load returned with the model.
func (m *Model) CheckState(st *store.State) error {
	if st.Raw != m.raw {
		return fmt.Errorf("state: raw %t, want %t", st.Raw, m.raw)
	}
	if st.Size != m.Size() {
		return fmt.Errorf("state: size %d, want %d", st.Size, m.Size())
	}
	if st.Secret == [32]byte{} {
		return errors.New("state: the secret was not drawn")
	}
	if m.Size() > 0 {
		if st.Time != m.time {
			return fmt.Errorf("state: time %d, want %d", st.Time, m.time)
		}
		if st.Root != m.root {
			return fmt.Errorf("state: root %v, want %v", st.Root, m.root)
		}
	}
	return nil
}

// checkHeads compares the stored stream heads with the model's.
func (m *Model) checkHeads(ctx context.Context, s store.Store) error {
	heads, err := s.StreamHeads(ctx)
	if err != nil {
		return err
	}
	if len(heads) != len(m.heads) {
		return fmt.Errorf("%d stream heads, want %d", len(heads), len(m.heads))
	}
	seen := map[entry.Hash]bool{}
	for _, h := range heads {
		if want, ok := m.heads[h.StreamID]; !ok || h != want || seen[h.StreamID] {
			return fmt.Errorf("stream head %+v, want %+v, seen before: %t", h, want, seen[h.StreamID])
		}
		seen[h.StreamID] = true
	}
	return nil
}

func (m *Model) checkEntries(ctx context.Context, s store.Store) error {
	size := m.Size()
	if m.raw {
		return m.checkLeaves(ctx, s)
	}
	if _, err := s.Leaves(ctx, 0, 1); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("raw leaf 0 of a log of streams: got error %v, want not found", err)
	}
	skeletons, err := s.Skeletons(ctx, 0, size)
	if err != nil {
		return err
	}
	if len(skeletons) != len(m.entries) {
		return fmt.Errorf("skeletons: got %d, want %d", len(skeletons), len(m.entries))
	}
	for i := range m.entries {
		want := &m.entries[i]
		if skeletons[i] != want.Skeleton {
			return fmt.Errorf("skeleton %d: got %+v, want %+v", i, skeletons[i], want.Skeleton)
		}
		if RaceDetector && len(m.entries) > 50 && i%(len(m.entries)/25) != 0 {
			continue
		}
		h, err := s.Header(ctx, uint64(i))
		if err != nil {
			return err
		}
		if m.headless[uint64(i)] {
			if h != nil {
				return fmt.Errorf("header %d was erased, but is %x", i, h)
			}
		} else if h == nil || h.Salt != want.Header.Salt || !bytes.Equal(h.Content, want.Header.Content) {
			return fmt.Errorf("header %d: got %x, want %x", i, h, want.Header)
		}
		if err := m.checkPayload(ctx, s, uint64(i)); err != nil {
			return err
		}
		if err := m.checkAlone(ctx, s, uint64(i), h); err != nil {
			return err
		}
	}
	from := size - min(size, 20)
	headers, err := store.Headers(ctx, s, from, size)
	if err != nil || uint64(len(headers)) != size-from {
		return fmt.Errorf("headers from %d to %d: got %d (error %w)", from, size, len(headers), err)
	}
	for i, h := range headers {
		want := &m.entries[from+uint64(i)].Header
		if erased := m.headless[from+uint64(i)]; erased != (h == nil) || !erased && (h.Salt != want.Salt || !bytes.Equal(h.Content, want.Content)) {
			return fmt.Errorf("header %d of a range: got %x, want %x, erased %t", from+uint64(i), h, want, erased)
		}
	}
	if _, err := store.Headers(ctx, s, from, size+1); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("headers beyond the end: got error %v, want not found", err)
	}
	if got := s.Unpurged(); got != len(m.unpurged) && !m.AnyUnpurged {
		return fmt.Errorf("%d erasures are to be purged, want %d", got, len(m.unpurged))
	}
	for _, beyond := range []uint64{size, size + 1, size + 40, math.MaxUint64} {
		if _, err := s.Header(ctx, beyond); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("header %d of %d: got error %v, want not found", beyond, size, err)
		}
		if _, err := s.Payload(ctx, beyond); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("payload %d of %d: got error %v, want not found", beyond, size, err)
		}
		if _, err := s.PayloadInfo(ctx, beyond); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("payload info %d: %v, want ErrNotFound", beyond, err)
		}
		if _, err := s.OpenPayload(ctx, beyond); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("open payload %d of %d: got error %v, want not found", beyond, size, err)
		}
	}
	return nil
}

// checkAlone checks reads of one entry that stores answer in another way than
// reads of many: twice, since the second may be answered from memory.
func (m *Model) checkAlone(ctx context.Context, s store.Store, index uint64, header *receipt.HeaderOpening) error {
	for range 2 {
		skeletons, err := s.Skeletons(ctx, index, index+1)
		if err != nil || len(skeletons) != 1 || skeletons[0] != m.entries[index].Skeleton {
			return fmt.Errorf("skeleton %d alone: got %+v (error %w)", index, skeletons, err)
		}
	}
	h, p, err := store.OpeningsOf(ctx, s, index)
	if err != nil {
		return err
	}
	if (h == nil) != (header == nil) || h != nil && (h.Salt != header.Salt || !bytes.Equal(h.Content, header.Content)) {
		return fmt.Errorf("header %d with its payload: got %x, want %x", index, h, header)
	}
	if p == nil {
		return nil
	}
	if want, err := s.Payload(ctx, index); err != nil || want == nil || p.Salt != want.Salt || !bytes.Equal(p.Content, want.Content) {
		return fmt.Errorf("payload %d with its header: got %x, want %x (error %w)", index, p, want, err)
	}
	return nil
}

func (m *Model) checkPayload(ctx context.Context, s store.Store, i uint64) error {
	want := &m.entries[i]
	p, err := s.Payload(ctx, i)
	if err != nil {
		return err
	}
	r, err := s.OpenPayload(ctx, i)
	if err != nil {
		return err
	}
	info, err := s.PayloadInfo(ctx, i)
	if err != nil {
		return err
	}
	if m.erased[i] {
		if p != nil || r != nil || info != (store.PayloadInfo{Erased: true}) {
			return fmt.Errorf("payload %d was erased, but is %x, %+v", i, p, info)
		}
		return nil
	}
	wantInfo := store.PayloadInfo{Salt: want.Payload.Salt, Size: uint64(len(want.Payload.Content))}
	if info.Seal != (entry.Hash{}) { // the store chooses which payloads have a row for it
		wantInfo.Seal = store.InfoSeal(want.Skeleton.HeaderHash, wantInfo.Salt, wantInfo.Size)
	}
	if info != wantInfo {
		return fmt.Errorf("payload %d: got %+v, want %+v", i, info, wantInfo)
	}
	if p == nil || r == nil || p.Salt != want.Payload.Salt || r.Salt != want.Payload.Salt || (p.Content == nil) != (want.Large != nil) {
		return fmt.Errorf("payload %d: got %x, want %x", i, p, want.Payload)
	}
	if p.Content != nil && !bytes.Equal(p.Content, want.Payload.Content) {
		return fmt.Errorf("payload %d: got %x, want %x", i, p, want.Payload)
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("payload %d: %w", i, err)
	}
	if r.Size != uint64(len(content)) || !bytes.Equal(content, want.Payload.Content) {
		return fmt.Errorf("payload %d: the reader gave %x, want %x", i, content, want.Payload.Content)
	}
	return nil
}

func (m *Model) checkLeaves(ctx context.Context, s store.Store) error {
	leaves, err := s.Leaves(ctx, 0, m.Size())
	if err != nil {
		return err
	}
	if len(leaves) != len(m.leaves) {
		return fmt.Errorf("leaves: got %d, want %d", len(leaves), len(m.leaves))
	}
	for i := range leaves {
		if !bytes.Equal(leaves[i], m.leaves[i].Data) {
			return fmt.Errorf("leaf %d: got %x, want %x", i, leaves[i], m.leaves[i].Data)
		}
	}
	if _, err := s.Skeletons(ctx, 0, 1); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("skeleton 0 of a raw log: got error %v, want not found", err)
	}
	if _, err := s.Header(ctx, 0); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("header 0 of a raw log: got error %v, want not found", err)
	}
	if _, err := s.Payload(ctx, 0); !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("payload 0 of a raw log: got error %v, want not found", err)
	}
	return nil
}

func (m *Model) checkTiles(ctx context.Context, s store.Store) error {
	for id, want := range m.tiles {
		got, err := s.Tile(ctx, id.level, id.index)
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("tile %d of level %d differs", id.index, id.level)
		}
		for _, absent := range []tileID{{id.level, id.index + 1}, {id.level + 1, id.index}, {255, id.index}, {id.level, math.MaxUint64}} {
			if _, ok := m.tiles[absent]; ok {
				continue
			}
			if _, err := s.Tile(ctx, absent.level, absent.index); !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("tile %d of level %d: got error %v, want not found", absent.index, absent.level, err)
			}
		}
	}
	return nil
}

func (m *Model) checkCheckpoints(ctx context.Context, s store.Store) error {
	var sizes []uint64
	for size := range m.checkpoints {
		sizes = append(sizes, size)
	}
	slices.Sort(sizes)
	for _, minSize := range slices.Concat(around(sizes), []uint64{0, math.MaxUint64}) {
		at, _ := slices.BinarySearch(sizes, minSize)
		got, err := s.Checkpoint(ctx, minSize)
		if at == len(sizes) {
			if !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("checkpoint of size %d or more: got error %v, want not found", minSize, err)
			}
			continue
		}
		if err != nil {
			return err
		}
		if got.Size != sizes[at] || !bytes.Equal(got.Signed, m.checkpoints[sizes[at]]) {
			return fmt.Errorf("checkpoint of size %d or more: got %d %q, want %d %q", minSize, got.Size, got.Signed, sizes[at], m.checkpoints[sizes[at]])
		}
	}
	return nil
}

func (m *Model) checkKeys(ctx context.Context, s store.Store) error {
	for k, want := range m.keys {
		if RaceDetector && len(m.keys) > 50 && want%max(1, m.Size()/25) != 0 {
			continue
		}
		got, err := s.Lookup(ctx, k)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("key %x: got %d, want %d", k, got, want)
		}
		k[15]++
		if _, ok := m.keys[k]; ok {
			continue
		}
		if _, err := s.Lookup(ctx, k); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("key %x: got error %v, want not found", k, err)
		}
	}
	return nil
}

func (m *Model) checkPostings(ctx context.Context, s store.Store) error {
	terms := slices.Clone(neighbours)
	for t := range m.postings {
		terms = append(terms, t)
	}
	for _, t := range terms {
		if err := m.checkTerm(ctx, s, t); err != nil {
			return fmt.Errorf("postings of %x: %w", t, err)
		}
	}
	return nil
}

func (m *Model) checkTerm(ctx context.Context, s store.Store, t store.Term) error {
	p, err := s.Postings(ctx, t)
	if err != nil {
		return err
	}
	defer p.Close()
	indexes := m.postings[t]
	seeks := slices.Concat(some(around(indexes)), []uint64{0, m.Size(), math.MaxUint64})
	// Up, down, and from both ends in turn: the answer may not depend on where
	// the list stood.
	order := slices.Clone(seeks)
	for i := range seeks {
		order = append(order, seeks[len(seeks)-1-i])
	}
	for i := range seeks {
		order = append(order, seeks[i], seeks[len(seeks)-1-i])
	}
	for n, i := range order {
		if n%3 != 1 {
			if err := m.checkGE(p, indexes, i); err != nil {
				return err
			}
		}
		if n%3 != 0 {
			if err := m.checkLE(p, indexes, i); err != nil {
				return err
			}
		}
	}
	return p.Close()
}

func (m *Model) checkGE(p store.Postings, indexes []uint64, i uint64) error {
	got, ok, err := p.SeekGE(i)
	if err != nil {
		return err
	}
	at, _ := slices.BinarySearch(indexes, i)
	if ok != (at < len(indexes)) || ok && got != indexes[at] {
		return fmt.Errorf("the first from %d on: got %d, %t; the list is %d", i, got, ok, indexes)
	}
	return nil
}

func (m *Model) checkLE(p store.Postings, indexes []uint64, i uint64) error {
	got, ok, err := p.SeekLE(i)
	if err != nil {
		return err
	}
	at, found := slices.BinarySearch(indexes, i)
	if !found {
		at--
	}
	if ok != (at >= 0) || ok && got != indexes[at] {
		return fmt.Errorf("the last up to %d: got %d, %t; the list is %d", i, got, ok, indexes)
	}
	return nil
}

func (m *Model) checkFacts(ctx context.Context, s store.Store) error {
	for i := range m.Size() + 2 {
		if RaceDetector && m.Size() > 50 && i%(m.Size()/25) != 0 {
			continue
		}
		got, err := s.Facts(ctx, i)
		want, ok := m.facts[i]
		switch {
		case !ok && !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("facts of entry %d: got %x and error %v, want not found", i, got, err)
		case ok && err != nil:
			return err
		case ok && !bytes.Equal(got, want):
			return fmt.Errorf("facts of entry %d: got %x, want %x", i, got, want)
		}
	}
	return nil
}

func (m *Model) checkProjections(ctx context.Context, s store.Store) error {
	want := m.Projections()
	n := 0
	for got, err := range s.Projections(ctx) {
		if err != nil {
			return err
		}
		if n == len(want) {
			return fmt.Errorf("projections: more than %d", n)
		}
		if !equalProjection(got, want[n]) {
			return fmt.Errorf("projection %d: got %s, want %s", n, describe(got), describe(want[n]))
		}
		n++
	}
	if n != len(want) {
		return fmt.Errorf("projections: got %d, want %d", n, len(want))
	}
	return nil
}

func equalProjection(a, b store.Projection) bool {
	if a.Facts != nil && b.Facts != nil {
		return a.Facts.Index == b.Facts.Index && bytes.Equal(a.Facts.Facts, b.Facts.Facts)
	}
	if a.Key != nil && b.Key != nil {
		return *a.Key == *b.Key && a.Posting == nil && b.Posting == nil
	}
	return a.Key == nil && b.Key == nil && a.Posting != nil && b.Posting != nil && *a.Posting == *b.Posting
}

func describe(p store.Projection) string {
	switch {
	case p.Key != nil:
		return fmt.Sprintf("key %x at %d", p.Key.Key, p.Key.Index)
	case p.Posting != nil:
		return fmt.Sprintf("term %x at %d", p.Posting.Term, p.Posting.Index)
	case p.Facts != nil:
		return fmt.Sprintf("facts %x at %d", p.Facts.Facts, p.Facts.Index)
	}
	return "nothing"
}

// some returns at most 30 of the numbers, spread evenly.
func some(numbers []uint64) []uint64 {
	maxSeeks := 30
	if RaceDetector {
		maxSeeks = 10
	}
	if len(numbers) <= maxSeeks {
		return numbers
	}
	var out []uint64
	for i := range maxSeeks {
		out = append(out, numbers[i*(len(numbers)-1)/(maxSeeks-1)])
	}
	return out
}

// around returns the numbers and what lies beside them.
func around(numbers []uint64) []uint64 {
	var out []uint64
	for _, n := range numbers {
		if n > 0 {
			out = append(out, n-1)
		}
		out = append(out, n)
		if n < math.MaxUint64 {
			out = append(out, n+1)
		}
	}
	return slices.Compact(out)
}
