package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// The info of a payload is there exactly as long as the payload, in a row of
// its own where the payload is not small. The first such row raises the format
// of the store.
func TestPayloadInfo(t *testing.T) {
	ctx := context.Background()
	s := mustOpen(t, memFS())
	defer mustClose(t, s)
	sizes := []int{0, 1, infoBytes - 1, infoBytes, 10 * infoBytes}
	for i, size := range sizes {
		if want := uint32(formatOldest); i <= 3 && s.version != want {
			t.Errorf("format %d before entry %d, want %d", s.version, i, want)
		}
		err := s.Commit(ctx, &store.Commit{
			From: uint64(i), Root: entry.Hash{1},
			Entries: []store.Entry{{
				Skeleton: entry.Skeleton{StreamID: entry.Hash{2}, Seq: uint64(i)},
				Payload:  receipt.PayloadOpening{Salt: entry.Salt{byte(i + 1)}, Content: bytes.Repeat([]byte{7}, size)},
			}},
			Heads: []store.StreamHead{{StreamID: entry.Hash{2}, Next: uint64(i) + 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if s.version != formatInfo {
		t.Errorf("the store has format %d, want %d", s.version, formatInfo)
	}
	rows := func() (n int) {
		for i := range sizes {
			key := indexKey(infoSpace, uint64(i))
			if _, err := s.get(key[:]); err == nil {
				n++
			} else if !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
		}
		return n
	}
	if n := rows(); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	for i, size := range sizes {
		want := store.PayloadInfo{Salt: entry.Salt{byte(i + 1)}, Size: uint64(size)}
		if size >= infoBytes {
			want.Seal = store.InfoSeal(entry.Hash{}, want.Salt, want.Size)
		}
		if got, err := s.PayloadInfo(ctx, uint64(i)); err != nil || got != want {
			t.Errorf("entry %d: %+v %v", i, got, err)
		}
		if err := s.Erase(ctx, []store.Erasure{{Index: uint64(i)}}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.PayloadInfo(ctx, uint64(i)); err != nil || got != (store.PayloadInfo{Erased: true}) {
			t.Errorf("erased entry %d: %+v %v", i, got, err)
		}
	}
	if n := rows(); n != 0 {
		t.Errorf("%d rows are left after the erasure", n)
	}
}
