package pebblestore

import (
	"context"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// A store has the oldest format version that can represent its content. So the
// first large payload, and nothing before it, excludes programs that do not
// support large payloads.
func TestFirstLargePayloadRaisesVersion(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	open := func() *Store {
		s, err := OpenFS(mem, "data", store.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	version := func(s *Store, want uint32) {
		t.Helper()
		v, err := s.get(formatKey)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeVersion(v); err != nil || got != want || s.version != want {
			t.Fatalf("the rows are of version %d, the store says %d (error %v); want %d", got, s.version, err, want)
		}
	}
	s := open()
	src, m := storetest.NewSource(1), storetest.NewModel()
	version(s, 4)
	for i, want := range []uint32{4, 6, 6, formatFacts} {
		c := src.Next(3)
		if c.Facts = nil; i == 3 {
			c.Facts = []store.FactsAt{{Index: c.From, Facts: []byte("f")}}
		}
		if err := storetest.Spool(ctx, s, c, func(j int) bool { return i == 1 && j == 2 }); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			c.Erase = append(c.Erase, m.Erasure(1, true))
		}
		m.Commit(c)
		if err := s.Commit(ctx, storetest.Unspooled(c)); err != nil {
			t.Fatal(err)
		}
		version(s, want)
		mustClose(t, s)
		s = open()
		version(s, want)
		if err := m.Check(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
}
