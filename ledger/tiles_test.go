package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// damageTile makes one of the stored hashes of a full tile wrong.
func (tl *testLog) damageTile(t *testing.T, level uint8, index uint64, at int) {
	t.Helper()
	hashes, err := tl.store.Tile(context.Background(), level, index)
	if err != nil {
		t.Fatal(err)
	}
	hashes[at][0] ^= 1
	if err := tl.store.ReplaceTiles(context.Background(), []store.Tile{{Level: level, Index: index, Hashes: hashes}}); err != nil {
		t.Fatal(err)
	}
}

func (tl *testLog) reindex(t *testing.T, s store.Store, write bool) *ReindexReport {
	t.Helper()
	r, err := Reindex(context.Background(), s, memstore.New(), testOrigin, testDerive, write, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Reindex reports its progress through both of its passes.
func TestReindexProgress(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 3*store.TileWidth+10)
	tl.Close()
	var steps []uint64
	size := tl.Published().Size
	progress := func(done, total uint64) {
		if total != 2*size {
			t.Errorf("the total is %d, want %d", total, 2*size)
		}
		steps = append(steps, done)
	}
	if _, err := Reindex(context.Background(), tl.store, memstore.New(), testOrigin, testDerive, false, progress); err != nil {
		t.Fatal(err)
	}
	if want := []uint64{256, 512, 768, 2 * size}; !slices.Equal(steps, want) {
		t.Errorf("the steps are %d, want %d", steps, want)
	}
}

// A wrong tile is not used in proofs. Reindex computes it from the leaves.
func TestWrongTile(t *testing.T) {
	soak.WithoutRace(t)
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 3*store.TileWidth+10)
	tl.restart(t) // with no tile in memory
	tl.damageTile(t, 0, 1, 200)
	const index = store.TileWidth + 205
	p := tl.Published()
	if _, err := p.InclusionProof(ctx, index, p.Size); !errors.Is(err, ErrDamaged) {
		t.Errorf("a proof from the wrong hash: %v", err)
	}
	for i := range uint64(store.TileWidth) {
		// those that do not depend on it are right
		if err := checkInclusion(ctx, p, store.TileWidth+i); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("a proof from the wrong tile: %v", err)
		}
	}
	if _, err := p.Tile(ctx, 0, 1, store.TileWidth); !errors.Is(err, ErrDamaged) {
		t.Errorf("the wrong tile itself: %v", err)
	}
	if _, err := p.InclusionProof(ctx, 3, p.Size); err != nil {
		t.Errorf("a proof from another tile: %v", err)
	}
	tl.Close()
	for _, size := range []uint64{p.Size, store.TileWidth} {
		in, err := Inspect(ctx, tl.store, testOrigin, false)
		if err != nil {
			t.Fatal(err)
		}
		want, err := p.RootOf(ctx, size)
		if got, gerr := in.RootAt(ctx, size); err != nil || gerr != nil || got != want {
			t.Errorf("root of size %d: %v %v, want %v %v", size, got, gerr, want, err)
		}
	}
	if r := tl.reindex(t, tl.store, false); r.Tiles != 1 || r.Same() || r.Written {
		t.Errorf("reindex --check: %+v", r)
	}
	if r := tl.reindex(t, tl.store, true); r.Tiles != 1 || !r.Written || r.Missing+r.Extra+r.Heads != 0 {
		t.Errorf("reindex: %+v", r)
	}
	if r := tl.reindex(t, tl.store, false); !r.Same() {
		t.Errorf("reindex after reindex: %+v", r)
	}
	tl.restart(t)
	checkLog(t, tl, acme)
}

// checkInclusion returns an error unless the entry is proven to be in the tree.
func checkInclusion(ctx context.Context, p *Published, index uint64) error {
	path, err := p.InclusionProof(ctx, index, p.Size)
	if err != nil {
		return err
	}
	leaf, err := p.Tile(ctx, 0, index/store.TileWidth, int(index%store.TileWidth)+1)
	if errors.Is(err, ErrDamaged) { // by another entry of the tile
		stored, serr := p.tiles.store.Tile(ctx, 0, index/store.TileWidth)
		if serr != nil {
			return serr
		}
		leaf, err = stored[:store.TileWidth], nil
	}
	if err != nil {
		return err
	}
	raw := make([][]byte, len(path))
	for i := range path {
		raw[i] = path[i][:]
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, index, p.Size, leaf[index%store.TileWidth][:], raw, p.Root[:])
}

// A wrong node above the hashes is not used in proofs either. Opening refuses
// it in the last tiles, fsck finds it, and reindex computes it.
func TestWrongTileNode(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 3*store.TileWidth+10)
	tl.restart(t)
	p := tl.Published()
	tl.damageTile(t, 0, 1, store.TileWidth+5)
	for _, index := range []uint64{store.TileWidth + 3, store.TileWidth + 85} {
		if _, err := p.InclusionProof(ctx, index, p.Size); !errors.Is(err, ErrDamaged) {
			t.Errorf("a proof of entry %d from the wrong node: %v", index, err)
		}
	}
	tl.Close()
	if _, err := Open(ctx, tl.cfg); !errors.Is(err, ErrDamaged) {
		t.Errorf("open with a wrong node in the last tiles: %v", err)
	}
	if in, err := Inspect(ctx, tl.store, testOrigin, false); err != nil || in.Root != p.Root {
		t.Errorf("inspect: %v", err)
	}
	if r := tl.reindex(t, tl.store, true); r.Tiles != 1 || !r.Written {
		t.Errorf("reindex: %+v", r)
	}
	tl.restart(t)
	if err := checkInclusion(ctx, tl.Published(), store.TileWidth+3); err != nil {
		t.Error(err)
	}
}

// A tileCounter counts the tiles that are read.
type tileCounter struct {
	store.Store
	tiles atomic.Int64
}

func (s *tileCounter) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	s.tiles.Add(1)
	return s.Store.Tile(ctx, level, index)
}

// A proof reads one tile of each level of full tiles, and none of them again.
func TestProofReadsOneTilePerLevel(t *testing.T) {
	s := &tileCounter{Store: memstore.New()}
	tl := newTestLogOn(t, Config{}, s)
	tl.fill(t, "entry", 9*store.TileWidth+10)
	tl.Close()
	tl.open(t, s)
	p := tl.Published()
	for i := range uint64(9) {
		for round, most := range []int64{1, 0} {
			s.tiles.Store(0)
			if err := checkInclusion(t.Context(), p, i*store.TileWidth+17*i); err != nil {
				t.Fatal(err)
			}
			if n := s.tiles.Load(); n > most {
				t.Errorf("round %d: a proof from tile %d read %d tiles, want at most %d", round, i, n, most)
			}
		}
	}
}

// The cache holds at most its size in tiles, of at most 17 KiB each.
func TestTileCacheIsBounded(t *testing.T) {
	const most = 32
	c := newTileCache(nil, most)
	hashes := store.TileNodes(make([]entry.Hash, store.TileWidth))
	for i := range uint64(10 * most) {
		c.put(&store.Tile{Index: i, Hashes: hashes})
	}
	c.tiles.CleanUp()
	if n := c.tiles.EstimatedSize(); n > most {
		t.Errorf("the cache holds %d tiles, want at most %d", n, most)
	}
	full, _ := newTile(hashes)
	if full.all() == nil {
		t.Fatal("the tile is wrong")
	}
	size := unsafe.Sizeof(*full) + uintptr(cap(full.hashes))*entry.HashSize + uintptr(len(full.groups))*unsafe.Sizeof(store.GroupNodes{})
	if size > 17<<10 {
		t.Errorf("a tile takes %d bytes", size)
	}
}

// Reindex computes nothing from leaves that do not give the root.
func TestReindexRefusesWrongLeaves(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", store.TileWidth+3)
	tl.Close()
	wrong := &wrongStore{Store: tl.store}
	wrong.skeleton.Store(true)
	if _, err := Reindex(context.Background(), wrong, memstore.New(), testOrigin, testDerive, true, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("reindex of wrong skeletons: %v", err)
	}
}

// An unreadableIndex can't be read beyond some rows until it is replaced.
type unreadableIndex struct {
	store.Store
	after    int
	replaced bool
}

func (s *unreadableIndex) Projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	if s.replaced {
		return s.Store.Projections(ctx)
	}
	return func(yield func(store.Projection, error) bool) {
		n := 0
		for p, err := range s.Store.Projections(ctx) {
			if n++; n > s.after {
				yield(store.Projection{}, fmt.Errorf("row %d: %w", n, ErrDamaged))
				return
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

func (s *unreadableIndex) ReplaceProjections(ctx context.Context, p iter.Seq2[store.Projection, error], heads []store.StreamHead) error {
	s.replaced = true
	return s.Store.ReplaceProjections(ctx, p, heads)
}

// Unreadable index rows are replaced like wrong ones.
func TestReindexUnreadable(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 20)
	tl.Close()
	s := &unreadableIndex{Store: tl.store, after: 7}
	if r := tl.reindex(t, s, false); r.Same() || r.Unreadable == "" || r.Written {
		t.Errorf("reindex --check of an unreadable index: %+v", r)
	}
	if r := tl.reindex(t, s, true); !r.Written {
		t.Errorf("reindex of an unreadable index: %+v", r)
	}
	if r := tl.reindex(t, s, false); !r.Same() {
		t.Errorf("after reindex: %+v", r)
	}
}

// The tree is computed from the leaves where tiles are unreadable.
func TestLostTiles(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 2*store.TileWidth)
	tl.Close()
	lost := &lostTiles{Store: tl.store}
	in, err := Inspect(context.Background(), lost, testOrigin, false)
	if err != nil {
		t.Fatal(err)
	}
	if p := tl.Published(); in.Root != p.Root || in.Size != p.Size {
		t.Errorf("root %v of size %d, want %v of %d", in.Root, in.Size, p.Root, p.Size)
	}
}

type lostTiles struct{ store.Store }

func (lostTiles) Tile(context.Context, uint8, uint64) ([]entry.Hash, error) {
	return nil, store.ErrNotFound
}
