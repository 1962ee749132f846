package ledger

import (
	"bytes"
	"context"
	"fmt"
	"hash"

	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// bundle imports leaves and their records.
func (im *importer) bundle(ctx context.Context, b *delta.Bundle, report *ImportReport) error {
	owed, err := im.leaves(b)
	if err != nil {
		return err
	}
	leaves := make([]store.Leaf, len(b.Leaves))
	for i := range leaves {
		leaves[i].Data = b.Leaves[i]
	}
	var postings []store.PostingAt
	for after := b.First; ; {
		rec, err := im.r.Record()
		if err != nil {
			return err
		}
		if rec == nil {
			break
		}
		at := rec.Index - b.First
		if rec.Index < after || at >= uint64(len(b.Leaves)) {
			return fmt.Errorf("%w: the record of entry %d is not in its place", ErrDelta, rec.Index)
		}
		after = rec.Index + 1
		terms, err := im.record(ctx, rec, &leaves[at])
		if err != nil {
			return err
		}
		delete(owed, rec.Index)
		for _, t := range terms {
			postings = append(postings, store.PostingAt{Term: t, Index: rec.Index})
		}
		report.Records++
		if rec.Payload != nil {
			report.PayloadBytes += rec.Payload.Size
		}
	}
	for index, s := range owed {
		return fmt.Errorf("%w: entry %d of the log belongs to the stream %s, but its record is missing", ErrDelta, index, s.id)
	}
	if !im.write {
		im.tree.takeFull()
		return nil
	}
	return im.put(ctx, b.First, leaves, postings)
}

// leaves adds the leaves to the tree. It returns the entries that need a record
// because they have tags of streams with known keys.
func (im *importer) leaves(b *delta.Bundle) (map[uint64]*importedStream, error) {
	owed := map[uint64]*importedStream{}
	for i, leaf := range b.Leaves {
		index := b.First + uint64(i)
		if len(leaf) == 0 {
			return nil, fmt.Errorf("%w: the leaf of entry %d is empty", ErrDelta, index)
		}
		im.tree.append(entry.LeafHash(leaf))
		switch s, err := im.owner(index, leaf); {
		case err != nil:
			return nil, err
		case s != nil:
			owed[index] = s
		}
	}
	return owed, nil
}

// owner returns the stream of a leaf among those with known keys, or nil. The
// leaf must be the stream's next. A repeated or later tag would hide an entry
// from readers of the stream.
func (im *importer) owner(index uint64, leaf []byte) (*importedStream, error) {
	if len(leaf) != entry.LeafSize {
		return nil, nil
	}
	for _, s := range im.keyed {
		seq, ok := s.tags.Find(entry.Hash(leaf[1:]))
		switch {
		case !ok:
			continue
		case seq < s.seen:
			return nil, fmt.Errorf("%w: entry %d of the log repeats the tag of entry %d of the stream %s: the log forked the stream", ErrDelta, index, seq, s.id)
		case seq >= s.end:
			return nil, fmt.Errorf("%w: entry %d of the log has the tag of entry %d of the stream %s, but the delta ends the stream before it", ErrDelta, index, seq, s.id)
		case seq > s.seen:
			return nil, fmt.Errorf("%w: entry %d of the log has the tag of entry %d of the stream %s, want that of entry %d", ErrDelta, index, seq, s.id, s.seen)
		}
		s.seen++
		return s, nil
	}
	return nil, nil
}

// badRecord returns the error of a record that does not verify.
func badRecord(rec *delta.Record, format string, args ...any) error {
	return fmt.Errorf("%w: the record of entry %d: %s", ErrDelta, rec.Index, fmt.Sprintf(format, args...))
}

// record checks a record against its leaf, and adds it to the leaf.
func (im *importer) record(ctx context.Context, rec *delta.Record, leaf *store.Leaf) ([]store.Term, error) {
	r, err := im.skeleton(rec, leaf)
	if err != nil {
		return nil, err
	}
	if rec.Header == nil {
		return []store.Term{streamTerm(rec.StreamID)}, nil
	}
	if rec.Header.Salt == (entry.Salt{}) || entry.HeaderHash(rec.Header.Salt, rec.Header.Content) != rec.HeaderHash {
		return nil, badRecord(rec, "its header does not match its hash")
	}
	h, err := entry.ParseHeader(rec.Header.Content)
	if err != nil {
		return nil, badRecord(rec, "%v", err)
	}
	if h.Origin != im.header.Origin {
		return nil, badRecord(rec, "its header has the origin %q", h.Origin)
	}
	terms := headerTerms(rec.StreamID, h)
	if rec.Payload == nil {
		return terms, nil
	}
	if rec.Payload.Salt == (entry.Salt{}) {
		return nil, badRecord(rec, "its payload has no salt")
	}
	if rec.Payload.Size != h.Payload.Size {
		return nil, badRecord(rec, "its payload has %d bytes, but its header has %d", rec.Payload.Size, h.Payload.Size)
	}
	c, err := im.payload(ctx, rec, r)
	if err != nil {
		return nil, err
	}
	if c != h.Payload.Commitment {
		return nil, badRecord(rec, "its payload does not match its commitment")
	}
	return terms, im.derive(ctx, rec, r, h)
}

// derive adds the facts of a record whose payload will be written.
func (im *importer) derive(ctx context.Context, rec *delta.Record, r *store.Record, h *entry.Header) error {
	if !im.write || rec.Index < im.state.Size {
		return nil
	}
	row, err := im.o.Derive.row(ctx, rec.HeaderHash, h, func() ([]byte, error) {
		if r.Large == nil {
			return r.Payload.Content, nil
		}
		content, err := im.large[len(im.large)-1].Open() // which payload has just finished
		if err != nil {
			return nil, err
		}
		return readWhole(content, r.Large.Size)
	})
	if row != nil {
		im.facts = append(im.facts, store.FactsAt{Index: rec.Index, Facts: row})
	}
	return err
}

// skeleton checks that the record is the next of its stream and opens its leaf,
// and advances the stream.
func (im *importer) skeleton(rec *delta.Record, leaf *store.Leaf) (*store.Record, error) {
	s := im.streams[rec.StreamID]
	switch {
	case s == nil:
		return nil, badRecord(rec, "the header does not list its stream %s", rec.StreamID)
	case rec.Seq != s.next || s.next == s.end:
		return nil, badRecord(rec, "it is entry %d of the stream %s, want entry %d of %d", rec.Seq, rec.StreamID, s.next, s.end)
	case rec.Seq > rec.Index:
		return nil, badRecord(rec, "its sequence number %d is greater than its index", rec.Seq)
	case rec.Prev != s.last:
		return nil, badRecord(rec, "it does not follow the previous entry of the stream %s", rec.StreamID)
	}
	if err := entry.CheckLeaf(leaf.Data); err != nil {
		return nil, badRecord(rec, "%v", err)
	}
	r := &store.Record{Header: rec.Header}
	r.Skeleton = entry.Skeleton{Tag: entry.Hash(leaf.Data[1:]), LinkSalt: rec.LinkSalt, StreamID: rec.StreamID, Seq: rec.Seq, Prev: rec.Prev, Time: rec.Time, HeaderHash: rec.HeaderHash}
	if data := r.Skeleton.LeafData(im.origin()); !bytes.Equal(data[:], leaf.Data) {
		return nil, badRecord(rec, "it does not open its leaf")
	}
	leaf.Time, leaf.Record = rec.Time, r
	s.next, s.last = s.next+1, entry.LeafHash(leaf.Data)
	return r, nil
}

// payload reads the record's payload and returns its commitment. A large
// payload goes directly to the store, because it may not fit into memory.
func (im *importer) payload(ctx context.Context, rec *delta.Record, r *store.Record) (sum entry.Hash, err error) {
	h := entry.NewCommitment(rec.Payload.Salt)
	r.Payload = &receipt.PayloadOpening{Salt: rec.Payload.Salt}
	switch {
	case !im.write || rec.Index < im.state.Size:
		err = im.r.Payload(rec, func(part []byte) error {
			h.Write(part)
			return nil
		})
	case rec.Payload.Size <= importLarge:
		r.Payload.Content = make([]byte, 0, rec.Payload.Size)
		err = im.r.Payload(rec, func(part []byte) error {
			h.Write(part)
			r.Payload.Content = append(r.Payload.Content, part...)
			return nil
		})
	default:
		r.Large, err = im.largePayload(ctx, rec, h)
	}
	return entry.Hash(h.Sum(nil)), err
}

// largePayload copies the record's payload to the store and to h.
func (im *importer) largePayload(ctx context.Context, rec *delta.Record, h hash.Hash) (*store.LargePayload, error) {
	w, err := im.store.CreatePayload(ctx)
	if err != nil {
		return nil, err
	}
	im.large = append(im.large, w)
	err = im.r.Payload(rec, func(part []byte) error {
		h.Write(part)
		_, err := w.Write(part)
		return err
	})
	if err != nil {
		return nil, err
	}
	l, err := w.Finish()
	return &l, err
}
