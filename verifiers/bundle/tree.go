package bundle

import (
	"bytes"
	"context"

	"muniment.dev/muniment/ledger/entry"
)

// A treeCheck computes the tiles of a tree from its leaves.
type treeCheck struct {
	levels []levelCheck
	// check is called with each tile. The hashes are valid until it returns.
	check func(t Tile, hashes []entry.Hash) error
}

// A levelCheck is the last tile of a level.
type levelCheck struct {
	index  uint64
	hashes []entry.Hash
}

// add adds a node of a level, and the nodes above it that it completes.
func (c *treeCheck) add(level int, h entry.Hash) error {
	if level == len(c.levels) {
		c.levels = append(c.levels, levelCheck{})
	}
	l := &c.levels[level]
	if l.hashes = append(l.hashes, h); len(l.hashes) < tileWidth {
		return nil
	}
	if err := c.check(Tile{level, l.index, tileWidth}, l.hashes); err != nil {
		return err
	}
	root := rootOf(l.hashes)
	l.index, l.hashes = l.index+1, l.hashes[:0]
	return c.add(level+1, root)
}

// finish checks the partial tiles, and returns the root of the tree.
func (c *treeCheck) finish() (entry.Hash, error) {
	var root *entry.Hash
	for level := range c.levels {
		l := &c.levels[level]
		if len(l.hashes) > 0 {
			if err := c.check(Tile{level, l.index, len(l.hashes)}, l.hashes); err != nil {
				return entry.Hash{}, err
			}
		}
		// the nodes to the right of the level's last full tile, and the tree of
		// everything below them
		hashes := l.hashes
		if root != nil {
			hashes = append(append([]entry.Hash(nil), hashes...), *root)
		}
		if len(hashes) > 0 {
			r := rootOf(hashes)
			root = &r
		}
	}
	return *root, nil
}

// rootOf returns the root of a tree whose leaves are roots of perfect trees of
// the same height, except for the last, which can be smaller.
func rootOf(hashes []entry.Hash) entry.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for k*2 < len(hashes) {
		k *= 2
	}
	left, right := rootOf(hashes[:k]), rootOf(hashes[k:])
	return entry.NodeHash(&left, &right)
}

// checkTree performs step 5.
func (b *Bundle) checkTree(ctx context.Context) error {
	var different *Error // is reported after a wrong root
	c := &treeCheck{check: func(t Tile, hashes []entry.Hash) error {
		content, err := b.read(t.Name())
		if err != nil {
			return err
		}
		for i := range hashes {
			if different == nil && !bytes.Equal(content[i*entry.HashSize:(i+1)*entry.HashSize], hashes[i][:]) {
				different = fail(TileMismatch, "%s: not the tile of the leaves", t.Name())
			}
		}
		return nil
	}}
	err := b.EachLeaf(ctx, func(_ uint64, data []byte) error { return c.add(0, entry.LeafHash(data)) })
	if err != nil {
		return err
	}
	root, err := c.finish()
	switch {
	case err != nil:
		return err
	case root != b.Manifest.Root:
		return fail(TreeRoot, "the leaves have the root %s, but the manifest has %s", root.Base64(), b.Manifest.Root.Base64())
	case different != nil:
		return different
	}
	return nil
}
