package storetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A Source makes one valid commit after the other, the same ones for the same
// seed. Hashes are noise: a store doesn't check them.
type Source struct {
	rng     *rand.Rand
	size    uint64
	time    uint64
	streams []store.StreamHead
	terms   []store.Term
	raw     bool
}

// NewSource returns a source that starts with an empty log.
func NewSource(seed uint64) *Source {
	s := &Source{rng: rand.New(rand.NewPCG(seed, 0)), time: 1_700_000_000_000, terms: slices.Clone(neighbours)}
	for range 4 {
		s.terms = append(s.terms, store.Term(s.bytes(16)))
	}
	for range 3 {
		s.streams = append(s.streams, store.StreamHead{StreamID: s.hash()})
	}
	return s
}

// NewRawSource returns a source for a raw log that starts empty.
func NewRawSource(seed uint64) *Source {
	s := NewSource(seed)
	s.raw = true
	return s
}

// neighbours are terms that a store could mix up if it cut keys at the wrong
// place.
var neighbours = []store.Term{
	term(""), term("\x00\x01"), term("a"), term("aa"), term("ab"),
	store.Term(bytes.Repeat([]byte{0xff}, 16)),
	store.Term(append(bytes.Repeat([]byte{0xff}, 15), 0xfe)),
	store.Term(append(bytes.Repeat([]byte{0x61}, 15), 0xff)), // its successor is
	store.Term(append(bytes.Repeat([]byte{0x61}, 14), 0x62, 0x00)),
	store.Term(append(bytes.Repeat([]byte{0x61}, 15), 0xfe)),
}

func term(prefix string) (t store.Term) {
	copy(t[:], prefix)
	return t
}

// Next returns the next commit, of n entries.
func (s *Source) Next(n int) *store.Commit {
	c := &store.Commit{From: s.size, Root: s.hash()}
	heads := map[entry.Hash]bool{}
	for i := range n {
		if s.raw {
			c.Leaves = append(c.Leaves, s.leaf())
		} else {
			c.Entries = append(c.Entries, s.entry(heads))
		}
		at := s.size + uint64(i)
		if s.rng.IntN(4) > 0 {
			c.Keys = append(c.Keys, store.KeyAt{Key: store.Key(s.bytes(16)), Index: at})
		}
		for _, t := range s.terms {
			if s.rng.IntN(3) == 0 {
				c.Postings = append(c.Postings, store.PostingAt{Term: t, Index: at})
			}
		}
	}
	for i := range n {
		if s.rng.IntN(3) == 0 {
			c.Facts = append(c.Facts, store.FactsAt{Index: s.size + uint64(i), Facts: s.bytes(s.length(1))})
		}
	}
	s.rng.Shuffle(len(c.Postings), func(i, j int) { c.Postings[i], c.Postings[j] = c.Postings[j], c.Postings[i] })
	for _, h := range s.streams {
		if heads[h.StreamID] {
			c.Heads = append(c.Heads, h)
		}
	}
	// Real tiles are full after 256 leaves. These are full after 16, so
	// that small logs also have some.
	for i := s.size / 16; i < (s.size+uint64(n))/16; i++ {
		c.Tiles = append(c.Tiles, s.tile(0, i))
		if i%4 == 3 {
			c.Tiles = append(c.Tiles, s.tile(1, i/4))
		}
	}
	// As after a restart, sizes are left out now and then.
	if s.size > 0 && s.rng.IntN(5) > 0 {
		c.Checkpoint = &store.Checkpoint{Size: s.size, Signed: fmt.Appendf(nil, "example.org/log\n%d\n%x\n", s.size, s.bytes(40))}
	}
	s.size += uint64(n)
	return c
}

func (s *Source) leaf() store.Leaf {
	s.time += s.rng.Uint64N(3)
	return store.Leaf{Data: s.bytes(min(s.length(1), store.MaxLeafSize)), Time: s.time}
}

func (s *Source) entry(heads map[entry.Hash]bool) store.Entry {
	head := &s.streams[s.rng.IntN(len(s.streams))]
	heads[head.StreamID] = true
	s.time += s.rng.Uint64N(3)
	e := store.Entry{
		Skeleton: entry.Skeleton{
			Tag: s.hash(), LinkSalt: entry.Salt(s.bytes(32)), StreamID: head.StreamID, Seq: head.Next, Prev: head.Last,
			Time: s.time, HeaderHash: s.hash(),
		},
		Header:  receipt.HeaderOpening{Salt: entry.Salt(s.bytes(32)), Content: s.bytes(s.length(1))},
		Payload: receipt.PayloadOpening{Salt: entry.Salt(s.bytes(32)), Content: s.bytes(s.length(0))},
	}
	head.Next++
	head.Last = s.hash()
	return e
}

// length returns small lengths, and now and then one that needs a place of its
// own.
func (s *Source) length(least int) int {
	switch s.rng.IntN(20) {
	case 0:
		return least
	case 1:
		return 3000 + s.rng.IntN(3000)
	case 2:
		if s.rng.IntN(5) == 0 {
			return 70_000
		}
	}
	return least + s.rng.IntN(100)
}

func (s *Source) tile(level uint8, index uint64) store.Tile {
	t := store.Tile{Level: level, Index: index, Hashes: make([]entry.Hash, store.TileHashes)}
	for i := range t.Hashes {
		t.Hashes[i] = s.hash()
	}
	return t
}

func (s *Source) hash() entry.Hash { return entry.Hash(s.bytes(32)) }

func (s *Source) bytes(n int) []byte {
	b := make([]byte, (n+7)/8*8)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], s.rng.Uint64())
	}
	return b[:n]
}

// Clone returns a copy of the commit that shares no memory with it.
func Clone(c *store.Commit) *store.Commit {
	k := *c
	k.Entries = slices.Clone(c.Entries)
	for i := range k.Entries {
		e := &k.Entries[i]
		e.Header.Content = bytes.Clone(e.Header.Content)
		e.Payload.Content = bytes.Clone(e.Payload.Content)
	}
	k.Leaves = slices.Clone(c.Leaves)
	for i := range k.Leaves {
		k.Leaves[i].Data = bytes.Clone(k.Leaves[i].Data)
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
		k.Facts[i].Facts = bytes.Clone(k.Facts[i].Facts)
	}
	k.Erase = slices.Clone(c.Erase)
	for i := range k.Erase {
		k.Erase[i].Keys, k.Erase[i].Terms = slices.Clone(c.Erase[i].Keys), slices.Clone(c.Erase[i].Terms)
	}
	if c.Checkpoint != nil {
		k.Checkpoint = &store.Checkpoint{Size: c.Checkpoint.Size, Signed: bytes.Clone(c.Checkpoint.Signed)}
	}
	k.Older = slices.Clone(c.Older)
	for i := range k.Older {
		k.Older[i].Signed = bytes.Clone(k.Older[i].Signed)
	}
	return &k
}

// scribble overwrites all that the commit's slices point to.
func scribble(c *store.Commit) {
	fill := func(b []byte) {
		for i := range b {
			b[i] = 0xee
		}
	}
	for i := range c.Entries {
		fill(c.Entries[i].Header.Content)
		fill(c.Entries[i].Payload.Content)
	}
	clear(c.Entries)
	for i := range c.Leaves {
		fill(c.Leaves[i].Data)
	}
	clear(c.Leaves)
	for i := range c.Tiles {
		clear(c.Tiles[i].Hashes)
	}
	clear(c.Tiles)
	clear(c.Heads)
	clear(c.Keys)
	clear(c.Postings)
	for i := range c.Facts {
		fill(c.Facts[i].Facts)
	}
	clear(c.Facts)
	for i := range c.Erase {
		clear(c.Erase[i].Keys)
		clear(c.Erase[i].Terms)
	}
	clear(c.Erase)
	if c.Checkpoint != nil {
		fill(c.Checkpoint.Signed)
	}
	for i := range c.Older {
		fill(c.Older[i].Signed)
	}
	clear(c.Older)
}
