package pebblestore

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A replica has a raw log with records: rows h, p and s for some of the
// entries, beside rows l for all. A run of such rows ends where the next entry
// has no record, so that a reader who looks for one that is not there finds a
// run that does not hold it.

// putRecords writes the records of those leaves that have one.
func putRecords(b *pebble.Batch, first uint64, leaves []store.Leaf) {
	for len(leaves) > 0 {
		n := 0
		for n < len(leaves) && leaves[n].Record != nil {
			n++
		}
		if n == 0 {
			first, leaves = first+1, leaves[1:]
			continue
		}
		putRecordRun(b, first, leaves[:n])
		first, leaves = first+uint64(n), leaves[n:]
	}
}

// putRecordRun is putRun for records, whose openings may be erased already.
func putRecordRun(b *pebble.Batch, first uint64, leaves []store.Leaf) {
	entries := make([]store.Entry, len(leaves))
	for i := range leaves {
		entries[i].Skeleton = leaves[i].Record.Skeleton
	}
	var table [maxRun]entry.Hash
	streams := distinctStreams(&table, entries)
	op := b.SetDeferred(indexKeySize, skeletonRunSize(len(entries), len(streams)))
	putIndexKey(op.Key, skeletonSpace, first)
	putSkeletonRun(op.Value, entries, streams)

	lengths, salts, texts := []byte{byte(len(leaves))}, []byte(nil), []byte(nil)
	for i := range leaves {
		h := leaves[i].Record.Header
		if h == nil {
			lengths = append(lengths, 0)
			continue
		}
		lengths = binary.AppendUvarint(lengths, uint64(len(h.Content))+1)
		salts, texts = append(salts, h.Salt[:]...), append(texts, h.Content...)
	}
	op = b.SetDeferred(indexKeySize, len(lengths)+len(salts)+len(texts))
	putIndexKey(op.Key, headerSpace, first)
	copy(op.Value[copy(op.Value, lengths):], append(salts, texts...))

	for i := range leaves {
		if r := leaves[i].Record; r.Payload != nil {
			putPayload(b, first+uint64(i), r.Skeleton.HeaderHash, r.Payload, r.Large)
			continue
		}
		putErasedPayload(b, first+uint64(i))
	}
}
