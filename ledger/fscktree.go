package ledger

import (
	"context"
	"fmt"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A trust is what the tree head proves before single leaves are checked.
type trust int

const (
	trustNone   trust = iota // neither tiles nor leaves lead to the root
	trustTiles               // the tiles at the edge and the last leaves lead to it
	trustLeaves              // all leaves lead to it
)

// establishTrust decides whether to trust tiles or leaves where they differ.
func (k *checker) establishTrust(ctx context.Context) error {
	k.tileErr = map[tileID]bool{}
	k.tree = &tree{}
	st := k.State
	if st.Size == 0 {
		k.trust = trustLeaves
		return nil
	}
	if t, err := loadTree(ctx, k.Store, st, k.log); err == nil && t.root() == st.Root {
		k.trust = trustTiles
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t, err := leafTree(ctx, k.Store, st, k.log, nil)
	if err != nil {
		return damageOnly(ctx, err)
	}
	if t.root() == st.Root {
		k.trust = trustLeaves
	}
	return nil
}

// checkEntries checks the log, one tile of entries at a time.
func (k *checker) checkEntries(ctx context.Context) error {
	size := k.State.Size
	for from := uint64(0); from < size; from += store.TileWidth {
		to := min(from+store.TileWidth, size)
		c := &leafChunk{from: from}
		if err := k.readLeaves(ctx, c, to); err != nil {
			return err
		}
		if err := k.compareTile(ctx, c); err != nil {
			return err
		}
		for i := range c.hashes {
			if err := k.placeLeaf(ctx, c, i); err != nil {
				return err
			}
		}
		if err := k.compareUpper(ctx); err != nil {
			return err
		}
		if k.Progress != nil {
			k.Progress(to, size)
		}
	}
	return k.finishTree(ctx)
}

// A leafChunk is the entries of a full or partial tile of level 0.
type leafChunk struct {
	from      uint64
	hashes    []*entry.Hash     // of leaves; nil: unknown
	wrong     []bool            // the leaf's row is damaged
	skeletons []*entry.Skeleton // nil: none, or unreadable
	raw       [][]byte
}

// readLeaves reads the rows of the leaves together, or one by one if that
// fails.
func (k *checker) readLeaves(ctx context.Context, c *leafChunk, to uint64) error {
	n := int(to - c.from)
	c.hashes, c.wrong, c.skeletons = make([]*entry.Hash, n), make([]bool, n), make([]*entry.Skeleton, n)
	if k.State.Raw {
		c.raw = make([][]byte, n)
	}
	if !k.State.Raw || k.Replica {
		if err := each(ctx, k.Store.Skeletons, c.from, to, func(i int, sk *entry.Skeleton, err error) {
			if err == nil && (!k.Replica || sk.StreamID != entry.Hash{}) {
				c.skeletons[i] = sk
			} else if !k.Replica {
				k.lostLeaf(c, i, "skeleton", err)
			}
			if err == nil && !k.State.Raw {
				h := sk.LeafHash(k.log)
				c.hashes[i] = &h
			}
		}); err != nil {
			return err
		}
	}
	if !k.State.Raw {
		return nil
	}
	return each(ctx, k.Store.Leaves, c.from, to, func(i int, leaf *[]byte, err error) {
		if err != nil {
			k.lostLeaf(c, i, "leaf", err)
			return
		}
		h := entry.LeafHash(*leaf)
		c.hashes[i], c.raw[i] = &h, *leaf
	})
}

// each reads the rows together, or one by one if that fails.
func each[T any](ctx context.Context, read func(ctx context.Context, from, to uint64) ([]T, error), from, to uint64, f func(i int, v *T, err error)) error {
	if all, err := read(ctx, from, to); err == nil {
		for i := range all {
			f(i, &all[i], nil)
		}
		return nil
	}
	for i := from; i < to; i++ {
		one, err := read(ctx, i, i+1)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			f(int(i-from), nil, err)
		} else {
			f(int(i-from), &one[0], nil)
		}
	}
	return nil
}

func (k *checker) lostLeaf(c *leafChunk, i int, kind string, err error) {
	c.wrong[i] = true
	k.report(kind, c.from+uint64(i), nil, Restore, "it can't be read: %s", reason(err))
}

// compareTile compares the leaves with their full tile, and decides which is
// correct where they differ.
func (k *checker) compareTile(ctx context.Context, c *leafChunk) error {
	if len(c.hashes) < store.TileWidth {
		return nil
	}
	k.sum.Tiles++
	index := c.from / store.TileWidth
	stored, err := k.Store.Tile(ctx, 0, index)
	if err != nil {
		k.badTile(0, index, k.tileRemedy(), "it can't be read: "+reason(err))
		return damageOnly(ctx, err)
	}
	var differ []int
	complete := true
	computed := make([]entry.Hash, store.TileWidth, store.TileHashes)
	for i, h := range c.hashes {
		if h == nil {
			complete = false
		} else if computed[i] = *h; *h != stored[i] {
			differ = append(differ, i)
		}
	}
	storedRoot, consistent := fullRoot(stored)
	if complete && len(differ) == 0 {
		if !consistent {
			k.badTile(0, index, k.tileRemedy(), "its nodes are not those of its hashes")
		}
		return nil
	}
	want, known := k.tileRoot(ctx, 0, index)
	computedRoot, _ := fullRoot(store.TileNodes(computed))
	switch {
	case known && storedRoot == want, !complete && len(differ) == 0:
		for _, i := range differ {
			c.wrong[i] = true
			k.report(k.leafKind(), c.from+uint64(i), nil, Restore, "it is not that of its leaf")
		}
		for i := range c.hashes {
			c.hashes[i] = &stored[i]
		}
	case complete && (k.trust == trustLeaves || known && computedRoot == want):
		k.badTile(0, index, Rebuild, fmt.Sprintf("%s not those of the entries", hashesAre(len(differ))))
	default:
		k.badTile(0, index, Restore, fmt.Sprintf("%s not those of the entries, or these are damaged", hashesAre(len(differ))))
		for _, i := range differ {
			k.report(k.leafKind(), c.from+uint64(i), nil, Restore, "it is not that of its tile, or the tile is damaged")
		}
	}
	return nil
}

// tileRemedy returns the remedy for a damaged tile.
func (k *checker) tileRemedy() Remedy {
	if k.trust == trustNone || k.broken {
		return Restore
	}
	return Rebuild
}

func areDamaged(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("entry %d is damaged", first)
	}
	return fmt.Sprintf("entries %d to %d are damaged", first, last)
}

func hashesAre(n int) string {
	if n == 1 {
		return "1 hash is"
	}
	return fmt.Sprintf("%d hashes are", n)
}

func (k *checker) leafKind() string {
	if k.State.Raw {
		return "leaf"
	}
	return "skeleton"
}

// tileRoot returns the root of a full tile according to the tiles above it.
func (k *checker) tileRoot(ctx context.Context, level uint8, index uint64) (entry.Hash, bool) {
	if k.trust != trustTiles {
		return entry.Hash{}, false
	}
	parent := index / store.TileWidth
	if parent >= k.State.Size>>(tileHeight*(int(level)+2)) {
		// without a full parent, the tile was part of the root's computation
		hashes, err := k.Store.Tile(ctx, level, index)
		if err != nil {
			return entry.Hash{}, false
		}
		root, _ := fullRoot(hashes)
		return root, true
	}
	want, ok := k.tileRoot(ctx, level+1, parent)
	if !ok {
		return entry.Hash{}, false
	}
	hashes, err := k.Store.Tile(ctx, level+1, parent)
	if err != nil {
		return entry.Hash{}, false
	}
	root, _ := fullRoot(hashes)
	return hashes[index%store.TileWidth], root == want
}

func (k *checker) badTile(level uint8, index uint64, remedy Remedy, problem string) {
	if id := (tileID{level, index}); !k.tileErr[id] {
		k.tileErr[id] = true
		first := index << (tileHeight * (int(level) + 1))
		f := k.finding("tile", first, nil, remedy, "tile %d of level %d: %s", index, level, problem)
		k.Report(f)
	}
}

// placeLeaf adds a leaf to the tree and checks its entry.
func (k *checker) placeLeaf(ctx context.Context, c *leafChunk, i int) error {
	index := c.from + uint64(i)
	switch {
	case k.broken:
	case c.hashes[i] == nil:
		k.broken = true
	default:
		k.tree.append(*c.hashes[i])
	}
	if c.wrong[i] {
		k.bad.set(index)
		k.opaque.set(index)
	} else if sk := c.skeletons[i]; sk != nil {
		if k.Replica && c.hashes[i] != nil && sk.LeafHash(k.log) != *c.hashes[i] {
			k.report("skeleton", index, &sk.StreamID, Restore, "it is not that of its leaf")
			k.bad.set(index)
			k.opaque.set(index)
		} else if err := k.checkEntry(ctx, index, sk); err != nil {
			return err
		}
	}
	if !c.wrong[i] && k.State.Raw && !k.Replica {
		k.want.add(&store.Projection{Key: &store.KeyAt{Key: k.ids.leafKey(c.raw[i]), Index: index}})
	}
	return k.checkRoots(ctx, index+1)
}

// compareUpper compares the completed tiles above level 0.
func (k *checker) compareUpper(ctx context.Context) error {
	for _, t := range k.tree.takeFull() {
		if t.Level == 0 {
			continue
		}
		k.sum.Tiles++
		stored, err := k.Store.Tile(ctx, t.Level, t.Index)
		if cerr := ctx.Err(); cerr != nil {
			return cerr
		}
		if err != nil {
			k.badTile(t.Level, t.Index, k.tileRemedy(), "it can't be read: "+reason(err))
		} else if !slices.Equal(stored, t.Hashes) {
			k.badTile(t.Level, t.Index, k.tileRemedy(), "its hashes are not those of the tiles below")
		}
	}
	return nil
}

// finishTree compares the root.
func (k *checker) finishTree(ctx context.Context) error {
	if err := k.checkRoots(ctx, k.State.Size+1); err != nil || k.State.Size == 0 || k.broken {
		return err
	}
	root := k.tree.root()
	if root == k.State.Root {
		return nil
	}
	f := Finding{Kind: "tree", Remedy: Restore, Problem: fmt.Sprintf("the entries have the root %s, and the tree head has %s", root.Base64(), k.State.Root.Base64())}
	if len(k.doubtful) > 0 {
		f.Problem += fmt.Sprintf("; by the checkpoints, %s", areDamaged(k.agreed, k.disagreed-1))
		for i := k.agreed; i < k.disagreed; i++ {
			k.opaque.set(i) // wrong entries have wrong projections
		}
	}
	k.Report(f)
	k.finishStreams()
	for _, f := range k.suspects {
		k.Report(f)
	}
	return nil
}

// finishStreams compares the ends of the streams with the stored heads.
func (k *checker) finishStreams() {
	for _, h := range k.storedHeads {
		if s := k.heads[h.StreamID]; s != nil {
			if k.link(s, h == s.StreamHead); s.pending != nil {
				k.suspect(*s.pending, &h.StreamID)
			}
		}
	}
}
