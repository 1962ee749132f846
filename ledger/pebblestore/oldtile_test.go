package pebblestore

import (
	"context"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// A tile of format 7 has no nodes, which are computed when it is read. The
// first tile that is written makes the store one of format 8.
func TestTileOfFormat7(t *testing.T) {
	s := mustOpen(t, memFS())
	defer mustClose(t, s)
	if s.version >= formatTiles {
		t.Errorf("a store without tiles has format %d", s.version)
	}
	src := storetest.NewSource(71)
	for i := 0; s.version < formatTiles; i++ {
		if i == 100 {
			t.Fatalf("after %d commits, the store has format %d", i, s.version)
		}
		c := src.Next(40)
		c.Facts = nil
		if err := s.Commit(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
	hashes, err := s.Tile(context.Background(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var key [tileKeySize]byte
	putTileKey(key[:], 0, 0)
	row := make([]byte, 0, oldTileRowSize)
	for i := range hashes[:store.TileWidth] {
		row = append(row, hashes[i][:]...)
	}
	if err := s.db.Set(key[:], row, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	got, err := s.Tile(context.Background(), 0, 0)
	if err != nil || len(got) != store.TileHashes || !slices.Equal(got, store.TileNodes(hashes)) {
		t.Fatalf("the tile has %d hashes (error %v), want those of the row and their nodes", len(got), err)
	}
	// the second node of height 4, from its definition
	want := hashes[16:32]
	for len(want) > 1 {
		var above []entry.Hash
		for pair := range slices.Chunk(want, 2) {
			above = append(above, entry.NodeHash(&pair[0], &pair[1]))
		}
		want = above
	}
	if got[store.TileWidth+1] != want[0] {
		t.Error("the second node is not that of hashes 16 to 31")
	}
}
