package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// damageTile makes a hash of a full tile wrong.
func (tl *testLog) damageTile(t *testing.T, level uint8, index uint64) {
	t.Helper()
	hashes, err := tl.store.Tile(context.Background(), level, index)
	if err != nil {
		t.Fatal(err)
	}
	hashes[200][0] ^= 1
	if err := tl.store.ReplaceTiles(context.Background(), []store.Tile{{Level: level, Index: index, Hashes: hashes}}); err != nil {
		t.Fatal(err)
	}
}

func (tl *testLog) reindex(t *testing.T, s store.Store, write bool) *ReindexReport {
	t.Helper()
	r, err := Reindex(context.Background(), s, memstore.New(), testOrigin, write, nil)
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
	if _, err := Reindex(context.Background(), tl.store, memstore.New(), testOrigin, false, progress); err != nil {
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
	tl.damageTile(t, 0, 1)
	const index = store.TileWidth + 3
	p := tl.Published()
	if _, err := p.InclusionProof(ctx, index, p.Size); !errors.Is(err, ErrDamaged) {
		t.Errorf("a proof from the wrong tile: %v", err)
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

// Reindex computes nothing from leaves that do not give the root.
func TestReindexRefusesWrongLeaves(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", store.TileWidth+3)
	tl.Close()
	wrong := &wrongStore{Store: tl.store, skeleton: true}
	if _, err := Reindex(context.Background(), wrong, memstore.New(), testOrigin, true, nil); !errors.Is(err, ErrDamaged) {
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

// Index rows that can't be read are replaced like those that are wrong.
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
