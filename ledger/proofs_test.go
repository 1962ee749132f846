package ledger

import (
	"context"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestEmptyLog(t *testing.T) {
	tl := newTestLog(t, Config{})
	checkLog(t, tl, acme)
	if p := tl.Published(); p.Size != 0 || p.Time != 0 || p.Root != emptyRoot {
		t.Fatalf("published: %+v", p)
	}
	tl.restart(t)
	tl.mustAppend(t, acme.draft("first"))
	checkLog(t, tl, acme)
}

// Each size around a full tile, reached one entry at a time, is checked, and
// every state that was published stays as it was.
func TestEverySmallSize(t *testing.T) {
	tl := newTestLog(t, Config{})
	states := []*Published{tl.Published()}
	tree := newNaiveTree(nil)
	for i := range 520 {
		tl.mustAppend(t, acme.draft("entry"+string(rune('a'+i))))
		p := tl.Published()
		states = append(states, p)
		leaf, err := tl.LeafHash(context.Background(), p, p.Size-1)
		if err != nil {
			t.Fatal(err)
		}
		tree.leaves = append(tree.leaves, leaf)
		checkProofs(t, p, tree, p.Size-1, p.Size)
		if p.Size < 6 || p.Size >= 254 && p.Size <= 259 || p.Size >= 510 && p.Size <= 514 {
			checkLogSample(t, tl, 37, acme)
		}
	}
	for size, p := range states {
		if p.Size != uint64(size) || p.Root != tree.root(p.Size) {
			t.Fatalf("the state of size %d has become one of size %d with root %s", size, p.Size, p.Root)
		}
		checkTiles(t, p, tree)
		if size > 0 {
			checkProofs(t, p, tree, p.Size/3, p.Size)
		}
	}
}

func TestProofsOfRandomSizes(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 1100)
	tree := checkLogSample(t, tl, 101, acme)
	p := tl.Published()
	special := []uint64{0, 1, 2, 3, 254, 255, 256, 257, 258, 511, 512, 513, 1023, 1024, 1025, 1100}
	size := rapid.OneOf(rapid.SampledFrom(special), rapid.Uint64Range(0, p.Size))
	rapid.Check(t, func(rt *rapid.T) {
		to := size.Draw(rt, "to")
		from := min(size.Draw(rt, "from"), to)
		checkProofs(t, p, tree, from, to)
		if root, err := p.rootOf(context.Background(), to); err != nil || root != tree.root(to) {
			rt.Fatalf("root of size %d: got %s, %v, want %s", to, root, err, tree.root(to))
		}
		level, index := uint8(rapid.IntRange(0, 3).Draw(rt, "level")), rapid.Uint64Range(0, 5).Draw(rt, "tile")
		width := rapid.IntRange(1, 256).Draw(rt, "width")
		want := tree.tile(p.Size, level, index)
		got, err := p.Tile(context.Background(), level, index, width)
		if width > len(want) {
			wantErr(t, "a tile that isn't there", err, ErrOutOfRange)
		} else if err != nil || !slices.Equal(got, want[:width]) {
			rt.Fatalf("tile %d of level %d, width %d: %v, or wrong hashes", index, level, width, err)
		}
	})
}

func TestProofsOutOfRange(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 300)
	ctx, p := context.Background(), tl.Published()
	inclusion := func(index, size uint64) error { _, err := p.InclusionProof(ctx, index, size); return err }
	consistency := func(from, to uint64) error { _, err := p.ConsistencyProof(ctx, from, to); return err }
	tile := func(level uint8, index uint64, width int) error {
		_, err := p.Tile(ctx, level, index, width)
		return err
	}
	bundle := func(index uint64, width int) error { _, err := tl.EntryBundle(ctx, index, width); return err }
	leaf := func(index uint64) error { _, err := tl.LeafHash(ctx, p, index); return err }
	for _, c := range []struct {
		what string
		err  error
		says string
	}{
		{"inclusion beyond the log", inclusion(0, 301), "tree size: "},
		{"inclusion of an index that is the size", inclusion(300, 300), "index: "},
		{"inclusion in the empty tree", inclusion(0, 0), "index: "},
		{"inclusion, largest numbers", inclusion(math.MaxUint64, math.MaxUint64), "tree size: "},
		{"inclusion, largest index", inclusion(math.MaxUint64, 300), "index: "},
		{"consistency beyond the log", consistency(1, 301), "to size: "},
		{"consistency backwards", consistency(7, 6), "from size: "},
		{"consistency, largest numbers", consistency(math.MaxUint64, math.MaxUint64), "to size: "},
		{"a partial tile that isn't there yet", tile(0, 1, 45), ""},
		{"a tile beyond the last", tile(0, 2, 1), ""},
		{"a level that isn't there", tile(2, 0, 1), ""},
		{"the largest tile", tile(63, math.MaxUint64, 256), ""},
		{"a bundle that isn't there yet", bundle(1, 45), ""},
		{"the largest bundle", bundle(math.MaxUint64, 256), ""},
		{"a bundle whose index overflows", bundle(math.MaxUint64/256+1, 1), ""},
		{"a leaf beyond the log", leaf(300), "index: "},
		{"the largest leaf", leaf(math.MaxUint64), "index: "},
	} {
		wantErr(t, c.what, c.err, ErrOutOfRange, c.says)
	}
}
