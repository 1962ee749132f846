package pebblestore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

const (
	// maxCommitBytes is what one commit may hold, so that a batch stays far
	// below Pebble's limit of 4 GiB, at which it panics.
	maxCommitBytes = 2 << 30
	// maxRetainedBytes is how large a batch may be to be kept for the next
	// commit.
	maxRetainedBytes = 16 << 20
)

// Commit implements store.Store. It doesn't look at ctx: a write to a local
// disk is not taken back half-way.
func (s *Store) Commit(ctx context.Context, c *store.Commit) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	if err := s.commit(c); err != nil {
		return fmt.Errorf("commit %d entries at %d: %w", c.Len(), c.From, err)
	}
	return nil
}

func (s *Store) commit(c *store.Commit) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.mayWrite(); err != nil {
		return err
	}
	if c.From != s.head.size {
		return fmt.Errorf("the log has size %d: %w", s.head.size, store.ErrLost)
	}
	if err := c.CheckKind(s.raw); err != nil {
		return err
	}
	if err := store.CheckErasures(c.Erase, c.From); err != nil {
		return err
	}
	size, err := batchSize(c)
	if err != nil {
		return err
	}
	b := s.db.NewBatchWithSize(size, pebble.WithMaxRetainedSizeBytes(maxRetainedBytes))
	defer b.Close()
	head := treeHead{
		size: c.From + uint64(c.Len()),
		root: c.Root,
		time: c.Time(),
	}
	// first: a key that is forgotten here may be filed again below
	erased, err := s.putErasures(b, c.Erase)
	if err != nil {
		return err
	}
	if err := s.takeLarge(b, c); err != nil {
		return err
	}
	if anyInfo(c) {
		if err := s.raiseFormat(b, formatInfo); err != nil {
			return err
		}
	}
	if len(c.Tiles) > 0 {
		if err := s.raiseFormat(b, formatTiles); err != nil {
			return err
		}
	}
	if len(c.Facts) > 0 {
		if err := s.raiseFormat(b, formatFacts); err != nil {
			return err
		}
	}
	putEntries(b, c.From, c.Entries)
	putLeaves(b, c.From, c.Leaves)
	putTiles(b, c.Tiles)
	putHeads(b, c.Heads)
	putKeys(b, c.Keys)
	s.putPostings(b, c.Postings)
	putFacts(b, c.Facts)
	if c.Checkpoint != nil {
		putCheckpoint(b, c.Checkpoint)
	}
	for i := range c.Older {
		putCheckpoint(b, &c.Older[i])
	}
	op := b.SetDeferred(len(headKey), treeHeadSize)
	copy(op.Key, headKey)
	putTreeHead(op.Value, &head)

	if err := s.db.Apply(b, pebble.Sync); err != nil {
		s.failed = true
		return err
	}
	s.head = head
	s.erased(erased)
	return nil
}

func putCheckpoint(b *pebble.Batch, c *store.Checkpoint) {
	op := b.SetDeferred(indexKeySize, len(c.Signed))
	putIndexKey(op.Key, checkpointSpace, c.Size)
	copy(op.Value, c.Signed)
}

// KeepCosigned implements store.Store. It shares the sync of a commit that is
// under way.
func (s *Store) KeepCosigned(ctx context.Context, c *store.Checkpoint, instead uint64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	if s.readOnly {
		return store.ErrReadOnly
	}
	b := s.db.NewBatch()
	defer b.Close()
	old, key := indexKey(cosignedSpace, instead), indexKey(cosignedSpace, c.Size)
	if instead != c.Size {
		if err := b.Delete(old[:], nil); err != nil {
			return err
		}
	}
	if err := b.Set(key[:], c.Signed, nil); err != nil {
		return err
	}
	if err := s.apply(b); err != nil {
		s.writing.Lock()
		s.failed = true
		s.writing.Unlock()
		return fmt.Errorf("keep the cosigned checkpoint of size %d: %w", c.Size, err)
	}
	return nil
}

// batchSize returns a little more than the bytes that the commit takes in a
// batch, and refuses what could not be read back.
func batchSize(c *store.Commit) (int, error) {
	if c.Len() == 0 {
		return 0, fmt.Errorf("no entries")
	}
	end := c.From + uint64(c.Len())
	if end < c.From || end == math.MaxUint64 {
		return 0, fmt.Errorf("the index overflows")
	}
	const row = 32 // more than the key of most rows, and the lengths
	n := 1024
	for i := range c.Entries {
		e := &c.Entries[i]
		n += len(e.Header.Content) + len(e.Payload.Content) + 2*entry.HashSize + skeletonSize + entry.HashSize + 3*row
	}
	for i := range c.Leaves {
		n += leafBytes(&c.Leaves[i]) + row
		if r := c.Leaves[i].Record; r != nil {
			n += 2*entry.HashSize + skeletonSize + entry.HashSize + 3*row
			if r.Payload != nil {
				n += len(r.Payload.Content)
			}
		}
	}
	for i := range c.Tiles {
		if len(c.Tiles[i].Hashes) != store.TileHashes {
			return 0, fmt.Errorf("tile %d of level %d has %d hashes", c.Tiles[i].Index, c.Tiles[i].Level, len(c.Tiles[i].Hashes))
		}
		n += tileRowSize + row
	}
	for i := range c.Postings {
		if at := c.Postings[i].Index; at < c.From || at >= end {
			// Rows of one term must not overlap, or a seek would find the wrong
			// one.
			return 0, fmt.Errorf("a posting is for entry %d", at)
		}
	}
	for i := range c.Facts {
		if at := c.Facts[i].Index; at < c.From || at >= end || len(c.Facts[i].Facts) == 0 {
			return 0, fmt.Errorf("%d bytes of facts are for entry %d", len(c.Facts[i].Facts), at)
		}
		n += len(c.Facts[i].Facts) + row
	}
	n += len(c.Heads)*(headKeySize+streamHeadSize+row) + len(c.Keys)*2*row + len(c.Postings)*2*row
	if c.Checkpoint != nil {
		n += len(c.Checkpoint.Signed)
	}
	for i := range c.Older {
		n += len(c.Older[i].Signed) + row
	}
	if n > maxCommitBytes {
		return 0, fmt.Errorf("%d bytes are more than the %d of the largest commit", n, maxCommitBytes)
	}
	return n, nil
}

func putEntries(b *pebble.Batch, from uint64, entries []store.Entry) {
	for len(entries) > 0 {
		n := runLength(entries, func(e *store.Entry) int { return len(e.Header.Content) })
		putRun(b, from, entries[:n])
		from += uint64(n)
		entries = entries[n:]
	}
}

// runLength returns how many of the entries share a row.
func runLength[E any](entries []E, size func(*E) int) int {
	bytes := 0
	for i := range entries {
		bytes += size(&entries[i])
		if i == maxRun || i > 0 && bytes > maxRunBytes {
			return i
		}
	}
	return len(entries)
}

func putRun(b *pebble.Batch, first uint64, entries []store.Entry) {
	op := b.SetDeferred(indexKeySize, headerRunSize(entries))
	putIndexKey(op.Key, headerSpace, first)
	putHeaderRun(op.Value, entries)

	var table [maxRun]entry.Hash
	streams := distinctStreams(&table, entries)
	op = b.SetDeferred(indexKeySize, skeletonRunSize(len(entries), len(streams)))
	putIndexKey(op.Key, skeletonSpace, first)
	putSkeletonRun(op.Value, entries, streams)

	for i := range entries {
		if entries[i].NoPayload {
			putErasedPayload(b, first+uint64(i))
			continue
		}
		putPayload(b, first+uint64(i), entries[i].Skeleton.HeaderHash, &entries[i].Payload, entries[i].Large)
	}
}

func putPayload(b *pebble.Batch, index uint64, header entry.Hash, p *receipt.PayloadOpening, large *store.LargePayload) {
	if large != nil {
		op := b.SetDeferred(indexKeySize, largeRowSize)
		putIndexKey(op.Key, largeSpace, index)
		putLargeRow(op.Value, p.Salt, large)
		return
	}
	op := b.SetDeferred(indexKeySize, entry.HashSize+len(p.Content))
	putIndexKey(op.Key, payloadSpace, index)
	copy(op.Value, p.Salt[:])
	copy(op.Value[entry.HashSize:], p.Content)
	if hasInfo(p) {
		putInfo(b, index, header, p)
	}
}

func putErasedPayload(b *pebble.Batch, index uint64) {
	op := b.SetDeferred(indexKeySize, 0)
	putIndexKey(op.Key, payloadSpace, index)
}

func putLeaves(b *pebble.Batch, from uint64, leaves []store.Leaf) {
	for len(leaves) > 0 {
		n := runLength(leaves, leafBytes)
		op := b.SetDeferred(indexKeySize, leafRunSize(leaves[:n]))
		putIndexKey(op.Key, leafSpace, from)
		putLeafRun(op.Value, leaves[:n])
		putRecords(b, from, leaves[:n])
		from += uint64(n)
		leaves = leaves[n:]
	}
}

// leafBytes returns the length of a leaf and its record's header.
func leafBytes(l *store.Leaf) int {
	if l.Record != nil && l.Record.Header != nil {
		return len(l.Data) + len(l.Record.Header.Content)
	}
	return len(l.Data)
}

func distinctStreams(table *[maxRun]entry.Hash, entries []store.Entry) []entry.Hash {
	streams := table[:0]
	for i := range entries {
		if id := &entries[i].Skeleton.StreamID; indexOf(streams, id) < 0 {
			streams = append(streams, *id)
		}
	}
	return streams
}

func putTiles(b *pebble.Batch, tiles []store.Tile) {
	for i := range tiles {
		op := b.SetDeferred(tileKeySize, tileRowSize)
		putTileKey(op.Key, tiles[i].Level, tiles[i].Index)
		for j := range tiles[i].Hashes {
			copy(op.Value[j*entry.HashSize:], tiles[i].Hashes[j][:])
		}
	}
}

func putHeads(b *pebble.Batch, heads []store.StreamHead) {
	for i := range heads {
		op := b.SetDeferred(headKeySize, streamHeadSize)
		putHeadKey(op.Key, &heads[i].StreamID)
		putStreamHead(op.Value, &heads[i])
	}
}

func putKeys(b *pebble.Batch, keys []store.KeyAt) {
	for i := range keys {
		op := b.SetDeferred(keyKeySize, uvarintSize(keys[i].Index))
		putKeyKey(op.Key, &keys[i].Key)
		binary.PutUvarint(op.Value, keys[i].Index)
	}
}

func putFacts(b *pebble.Batch, facts []store.FactsAt) {
	for i := range facts {
		op := b.SetDeferred(indexKeySize, len(facts[i].Facts))
		putIndexKey(op.Key, factsSpace, facts[i].Index)
		copy(op.Value, facts[i].Facts)
	}
}

// putPostings writes one row for each term, or more if the term has very many
// entries.
func (s *Store) putPostings(b *pebble.Batch, postings []store.PostingAt) {
	sorted := append(s.postings[:0], postings...)
	s.postings = sorted
	defer clear(sorted) // terms can be guessed, and their entries may be erased
	slices.SortFunc(sorted, comparePostings)
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && n < maxPostings && sorted[n].Term == sorted[0].Term {
			n++
		}
		putPostingRow(b, sorted[:n])
		sorted = sorted[n:]
	}
}

func comparePostings(a, b store.PostingAt) int {
	return cmp.Or(
		cmp.Compare(binary.BigEndian.Uint64(a.Term[:8]), binary.BigEndian.Uint64(b.Term[:8])),
		cmp.Compare(binary.BigEndian.Uint64(a.Term[8:]), binary.BigEndian.Uint64(b.Term[8:])),
		cmp.Compare(a.Index, b.Index),
	)
}

// putPostingRow writes the row of postings of one term, which are in order.
func putPostingRow(b *pebble.Batch, postings []store.PostingAt) {
	size := 0
	for i := 1; i < len(postings); i++ {
		size += uvarintSize(postings[i].Index - postings[i-1].Index)
	}
	op := b.SetDeferred(postingKeySize, size)
	putPostingKey(op.Key, &postings[0].Term, postings[0].Index)
	v := op.Value
	for i := 1; i < len(postings); i++ {
		v = v[binary.PutUvarint(v, postings[i].Index-postings[i-1].Index):]
	}
}
