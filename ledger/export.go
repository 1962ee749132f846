package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// ErrNothingNew reports that a delta would be empty.
var ErrNothingNew = errors.New("the log has not grown since")

// Export writes a delta with the log's growth since a size and the records of
// the streams, signed with the log's key. Its memory does not grow with the
// delta. It returns the delta's header. progress may be nil. Errors:
// ErrOutOfRange, ErrNothingNew, ErrNotWitnessed, ErrReplica.
func (l *Ledger) Export(ctx context.Context, w io.Writer, since uint64, streams []*Stream, progress func(done, total uint64)) (*delta.Header, error) {
	if l.replica {
		return nil, ErrReplica
	}
	head := l.Witnessed() // the importer verifies it by the log's policy
	if head == nil {
		return nil, fmt.Errorf("no checkpoint to export at: %w", ErrNotWitnessed)
	}
	p := l.Published()
	switch {
	case since > head.Size:
		return nil, WrongField(FieldSince, "%d is %w, which has %d entries", since, ErrOutOfRange, head.Size)
	case since == head.Size:
		return nil, WrongField(FieldSince, "%w size %d", ErrNothingNew, since)
	}
	proof, err := p.ConsistencyProof(ctx, since, head.Size)
	if err != nil {
		return nil, err
	}
	h := delta.Header{Origin: l.Origin(), From: since, To: head.Size}
	wanted := map[entry.Hash]bool{}
	for _, s := range streams {
		first, _, err := streamEnd(ctx, l.store, l.origin, s.ID, since)
		if err != nil {
			return nil, err
		}
		end, _, err := streamEnd(ctx, l.store, l.origin, s.ID, head.Size)
		if err != nil {
			return nil, err
		}
		wanted[s.ID] = true
		h.Streams = append(h.Streams, delta.Stream{ID: s.ID, First: first, End: end})
	}
	d, err := delta.NewWriter(w, h, head.Checkpoint, proof)
	if err != nil {
		return nil, err
	}
	for from := since; from < head.Size; {
		to := min((from|(store.TileWidth-1))+1, head.Size)
		if err := l.exportBundle(ctx, d, from, to, wanted); err != nil {
			return nil, err
		}
		from = to
		if progress != nil {
			progress(from-since, head.Size-since)
		}
	}
	return &h, d.Close(func(text string) ([]byte, error) { return note.Sign(&note.Note{Text: text}, l.cfg.Signer) })
}

// streamEnd returns the number of the stream's entries in the tree of the size,
// and the leaf hash of the last one.
func streamEnd(ctx context.Context, s store.Store, log entry.OriginHash, id entry.Hash, size uint64) (next uint64, last entry.Hash, err error) {
	if size == 0 {
		return 0, last, nil
	}
	list, err := s.Postings(ctx, streamTerm(id))
	if err != nil {
		return 0, last, err
	}
	defer list.Close()
	index, ok, err := list.SeekLE(size - 1)
	if err != nil || !ok {
		return 0, last, err
	}
	sk, err := s.Skeletons(ctx, index, index+1)
	if err != nil {
		return 0, last, fmt.Errorf("entry %d: %w", index, err)
	}
	return sk[0].Seq + 1, sk[0].LeafHash(log), nil
}

// exportBundle writes the leaves from ≤ index < to, and the records of the
// wanted streams.
func (l *Ledger) exportBundle(ctx context.Context, d *delta.Writer, from, to uint64, wanted map[entry.Hash]bool) error {
	if l.raw {
		leaves, err := l.store.Leaves(ctx, from, to)
		if err != nil {
			return err
		}
		return d.Bundle(from, leaves)
	}
	sk, err := l.store.Skeletons(ctx, from, to)
	if err != nil {
		return err
	}
	leaves := make([][]byte, len(sk))
	for i := range sk {
		data := sk[i].LeafData(l.origin)
		leaves[i] = data[:]
	}
	if err := d.Bundle(from, leaves); err != nil {
		return err
	}
	for i := range sk {
		if wanted[sk[i].StreamID] {
			if err := l.exportRecord(ctx, d, from+uint64(i), &sk[i]); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (l *Ledger) exportRecord(ctx context.Context, d *delta.Writer, index uint64, sk *entry.Skeleton) error {
	r := &delta.Record{Index: index, LinkSalt: sk.LinkSalt, StreamID: sk.StreamID, Seq: sk.Seq, Prev: sk.Prev, Time: sk.Time, HeaderHash: sk.HeaderHash}
	var err error
	if r.Header, err = l.store.Header(ctx, index); err != nil {
		return fmt.Errorf("header of entry %d: %w", index, err)
	}
	if err := checkHeader(index, sk, r.Header); err != nil {
		return err
	}
	if r.Header == nil {
		return d.Record(r, nil)
	}
	payload, err := l.store.OpenPayload(ctx, index)
	if err != nil {
		return fmt.Errorf("payload of entry %d: %w", index, err)
	}
	if payload == nil {
		return d.Record(r, nil)
	}
	header, err := parseHeader(index, r.Header)
	if err != nil {
		return errors.Join(err, payload.Close())
	}
	checked := checkedPayload(index, header, payload)
	r.Payload = &delta.Payload{Salt: payload.Salt, Size: payload.Size}
	return errors.Join(d.Record(r, checked), checked.Close())
}
