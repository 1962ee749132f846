package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// tallStore returns a raw log with a full tile of level 1, and its state.
func tallStore(t *testing.T) (*memstore.Store, *store.State) {
	t.Helper()
	ctx := context.Background()
	s := memstore.NewRaw()
	st, err := s.Follow(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	ids := newIdentifier(&st.Secret)
	tr := &tree{}
	c := &store.Commit{}
	for i := range uint64(store.TileWidth*store.TileWidth + 300) {
		data := binary.BigEndian.AppendUint64(nil, i)
		tr.append(entry.LeafHash(data))
		c.Leaves = append(c.Leaves, store.Leaf{Data: data, Time: 1})
		c.Keys = append(c.Keys, store.KeyAt{Key: ids.leafKey(data), Index: i})
	}
	c.Root, c.Tiles = tr.root(), tr.takeFull()
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	st.Size, st.Root = uint64(len(c.Leaves)), c.Root
	return s, st
}

// A faultyStore returns wrong tiles and leaves.
type faultyStore struct {
	store.Store
	tiles  map[tileID]error // nil: a hash is wrong
	above  int              // added to the place of the wrong hash
	leaves map[uint64]error // nil: a byte is wrong
}

func (s *faultyStore) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	hashes, err := s.Store.Tile(ctx, level, index)
	if fault, ok := s.tiles[tileID{level, index}]; ok && err == nil {
		if fault != nil {
			return nil, fault
		}
		hashes = slices.Clone(hashes)
		hashes[77+s.above][3] ^= 1
	}
	return hashes, err
}

func (s *faultyStore) Leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	leaves, err := s.Store.Leaves(ctx, from, to)
	for i, fault := range s.leaves {
		if err != nil || i < from || i >= to {
			continue
		}
		if fault != nil {
			return nil, fault
		}
		leaves = slices.Clone(leaves)
		leaves[i-from] = append([]byte{1}, leaves[i-from][1:]...)
	}
	return leaves, err
}

// Damage to one tile of any level, or to one leaf, is found and attributed to
// it alone, because the tiles above and below prove the rest.
func TestCheckStoreFindsTilesAndLeaves(t *testing.T) {
	soak.WithoutRace(t)
	s, st := tallStore(t)
	const last = store.TileWidth*store.TileWidth + 299 // in a partial tile
	for _, c := range []struct {
		name   string
		tiles  map[tileID]error
		above  int
		leaves map[uint64]error
		kind   string // "": sound
		entry  uint64
		remedy Remedy
		text   string
	}{
		{name: "sound"},
		{name: "wrong tile of level 0", tiles: map[tileID]error{{0, 5}: nil}, kind: "tile", entry: 5 * 256, remedy: Rebuild, text: "tile 5 of level 0"},
		{name: "wrong tile of level 1", tiles: map[tileID]error{{1, 0}: nil}, kind: "tile", entry: 0, remedy: Rebuild, text: "tile 0 of level 1"},
		{name: "wrong node in a tile of level 0", tiles: map[tileID]error{{0, 5}: nil}, above: 180, kind: "tile", entry: 5 * 256, remedy: Rebuild, text: "tile 5 of level 0"},
		{name: "wrong node in a tile of level 1", tiles: map[tileID]error{{1, 0}: nil}, above: 180, kind: "tile", entry: 0, remedy: Rebuild, text: "tile 0 of level 1"},
		{name: "unreadable tile of level 1", tiles: map[tileID]error{{1, 0}: ErrDamaged}, kind: "tile", entry: 0, remedy: Rebuild, text: "tile 0 of level 1"},
		{name: "missing tile of level 1", tiles: map[tileID]error{{1, 0}: store.ErrNotFound}, kind: "tile", entry: 0, remedy: Rebuild, text: "tile 0 of level 1"},
		{name: "wrong last full tile", tiles: map[tileID]error{{0, 256}: nil}, kind: "tile", entry: 256 * 256, remedy: Rebuild, text: "tile 256 of level 0"},
		{name: "wrong leaf", leaves: map[uint64]error{1000: nil}, kind: "leaf", entry: 1000, remedy: Restore},
		{name: "unreadable leaf", leaves: map[uint64]error{1001: ErrDamaged}, kind: "leaf", entry: 1001, remedy: Restore},
		{name: "missing leaf", leaves: map[uint64]error{1002: store.ErrNotFound}, kind: "leaf", entry: 1002, remedy: Restore},
		{name: "unreadable last leaf", leaves: map[uint64]error{last: ErrDamaged}, kind: "leaf", entry: last, remedy: Restore},
	} {
		t.Run(c.name, func(t *testing.T) {
			var found []Finding
			sum, err := CheckStore(t.Context(), StoreCheck{Store: &faultyStore{s, c.tiles, c.above, c.leaves}, State: st, Origin: testOrigin, Report: func(f Finding) { found = append(found, f) }})
			if err != nil {
				t.Fatal(err)
			}
			if sum.Entries != st.Size || sum.Tiles < 257 {
				t.Errorf("the summary is %+v", sum)
			}
			if c.kind == "" {
				if len(found) > 0 {
					t.Errorf("findings: %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Kind != c.kind || found[0].Entry == nil || *found[0].Entry != c.entry || found[0].Remedy != c.remedy || !strings.Contains(found[0].Problem, c.text) {
				t.Errorf("got %s, want one finding %q of entry %d with the remedy %q", findings(found), c.kind, c.entry, c.remedy)
			}
		})
	}
}

func findings(list []Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "[%s", f.Kind)
		if f.Entry != nil {
			fmt.Fprintf(&b, " of entry %d", *f.Entry)
		}
		fmt.Fprintf(&b, ": %s (%s)]", f.Problem, f.Remedy)
	}
	return b.String()
}
