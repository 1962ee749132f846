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

// putRecords writes the records of those entries that have one.
func putRecords(b *pebble.Batch, first uint64, entries []store.Entry) {
	for len(entries) > 0 {
		n := 0
		for n < len(entries) && entries[n].IsRecord() {
			n++
		}
		if n == 0 {
			first, entries = first+1, entries[1:]
			continue
		}
		putRecordRun(b, first, entries[:n])
		first, entries = first+uint64(n), entries[n:]
	}
}

// putRecordRun is putRun for entries of which openings may have been erased
// before they got here.
func putRecordRun(b *pebble.Batch, first uint64, entries []store.Entry) {
	var table [maxRun]entry.Hash
	streams := distinctStreams(&table, entries)
	op := b.SetDeferred(indexKeySize, skeletonRunSize(len(entries), len(streams)))
	putIndexKey(op.Key, skeletonSpace, first)
	putSkeletonRun(op.Value, entries, streams)

	lengths, salts, texts := []byte{byte(len(entries))}, []byte(nil), []byte(nil)
	for i := range entries {
		h := &entries[i].Header
		if h.Salt == (entry.Salt{}) {
			lengths = append(lengths, 0)
			continue
		}
		lengths = binary.AppendUvarint(lengths, uint64(len(h.Content))+1)
		salts, texts = append(salts, h.Salt[:]...), append(texts, h.Content...)
	}
	op = b.SetDeferred(indexKeySize, len(lengths)+len(salts)+len(texts))
	putIndexKey(op.Key, headerSpace, first)
	copy(op.Value[copy(op.Value, lengths):], append(salts, texts...))

	for i := range entries {
		if entries[i].Payload.Salt != (entry.Salt{}) {
			putPayload(b, first+uint64(i), &entries[i])
			continue
		}
		op = b.SetDeferred(indexKeySize, 0) // erased
		putIndexKey(op.Key, payloadSpace, first+uint64(i))
	}
}
