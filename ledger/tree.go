package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
	"github.com/transparency-dev/merkle/compact"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// The tree is stored as C2SP tlog-tiles. A tile at level L has 256 nodes of
// height 8·L, unless it is the last of its level. Full tiles are stored with
// their nodes of height 8·L + 4. In memory, tiles also have the other nodes
// below the next level's, so proofs need only look-ups.

// tileHeight is the number of tree levels in a tile.
const tileHeight = 8

// tileNodes are the nodes of a tile. Index h has those of height 8·L + h, up to
// 256 >> h nodes.
type tileNodes [tileHeight][]entry.Hash

func newTileNodes() *tileNodes {
	var t tileNodes
	all := make([]entry.Hash, 2*store.TileWidth-2)
	for h := range t {
		w := store.TileWidth >> h
		t[h], all = all[:0:w], all[w:]
	}
	return &t
}

// push appends a node of the lowest height and the nodes that it completes. If
// the tile is now full, it returns the tile's root.
func (t *tileNodes) push(n entry.Hash) (root entry.Hash, full bool) {
	for h := range t {
		t[h] = append(t[h], n)
		if len(t[h])%2 == 1 {
			return entry.Hash{}, false
		}
		n = entry.NodeHash(&t[h][len(t[h])-2], &t[h][len(t[h])-1])
	}
	return n, true
}

// fullRoot computes the root of a full tile from all its hashes. ok is false if
// the other nodes stored with them are not theirs.
func fullRoot(hashes []entry.Hash) (root entry.Hash, ok bool) {
	t := newTileNodes()
	for _, h := range hashes[:store.TileWidth] {
		root, _ = t.push(h)
	}
	return root, slices.Equal(t[groupHeight], hashes[store.TileWidth:])
}

// A tree is the growing right edge of the log. It belongs to the sequencer.
type tree struct {
	size  uint64
	edges []edge // the last tile of each level, which is not full
	full  []store.Tile
}

// An edge is the last tile of its level. Its slices only grow, so a copy never
// changes.
type edge struct {
	index uint64
	tileNodes
}

// append adds a leaf.
func (t *tree) append(leaf entry.Hash) {
	t.size++
	for level := 0; ; level++ {
		if level == len(t.edges) {
			t.edges = append(t.edges, edge{tileNodes: *newTileNodes()})
		}
		e := &t.edges[level]
		root, full := e.push(leaf)
		if !full {
			return
		}
		hashes := append(append(make([]entry.Hash, 0, store.TileHashes), e.tileNodes[0]...), e.tileNodes[groupHeight]...)
		t.full = append(t.full, store.Tile{Level: uint8(level), Index: e.index, Hashes: hashes})
		*e = edge{index: e.index + 1, tileNodes: *newTileNodes()}
		leaf = root
	}
}

// takeFull returns the tiles that became full since the last call.
func (t *tree) takeFull() []store.Tile {
	full := t.full
	t.full = nil
	return full
}

// snapshot returns an immutable copy of the edges.
func (t *tree) snapshot() []edge { return append([]edge(nil), t.edges...) }

// root returns the root of the tree.
func (t *tree) root() entry.Hash {
	p := Published{Size: t.size, edges: t.edges}
	root, err := p.rootOf(context.Background(), t.size)
	if err != nil {
		// a bug: all of these nodes are in edges
		panic("ledger: the right edge of the tree is not in memory: " + err.Error())
	}
	return root
}

// loadTree rebuilds the edges from the last leaves and the full tiles. It
// returns an error if the entries belong to a log with another origin.
func loadTree(ctx context.Context, s store.Log, st *store.State, log entry.OriginHash) (*tree, error) {
	size := st.Size
	if err := checkOrigin(ctx, s, st, log); err != nil {
		return nil, err
	}
	t := &tree{size: size}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		count := size >> (tileHeight * level) // nodes of this height
		e := edge{index: count / store.TileWidth, tileNodes: *newTileNodes()}
		first := e.index * store.TileWidth
		if level == 0 {
			leaves, err := leafData(ctx, s, st.Raw, log, first, count)
			if err != nil {
				return nil, fmt.Errorf("entries %d to %d: %w", first, count, err)
			}
			for _, data := range leaves {
				e.push(entry.LeafHash(data))
			}
		} else {
			for i := first; i < count; i++ {
				hashes, err := s.Tile(ctx, uint8(level-1), i)
				if err != nil {
					return nil, fmt.Errorf("tile %d of level %d: %w", i, level-1, err)
				}
				root, ok := fullRoot(hashes)
				if !ok {
					return nil, damagedTile(uint8(level-1), i)
				}
				e.push(root)
			}
		}
		t.edges = append(t.edges, e)
	}
	return t, nil
}

// leafTree computes the tree from the leaves only. It calls each, which may be
// nil, for every full tile.
func leafTree(ctx context.Context, s store.Log, st *store.State, log entry.OriginHash, each func(store.Tile) error) (*tree, error) {
	t := &tree{}
	for from := uint64(0); from < st.Size; from += store.TileWidth {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := min(from+store.TileWidth, st.Size)
		leaves, err := leafData(ctx, s, st.Raw, log, from, to)
		if err != nil {
			return nil, fmt.Errorf("entries %d to %d: %w", from, to, err)
		}
		for _, data := range leaves {
			t.append(entry.LeafHash(data))
		}
		for _, full := range t.takeFull() {
			if each == nil {
				break
			}
			if err := each(full); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

// checkOrigin compares the first leaf, which depends on the origin, with the
// first full tile. Without a full tile, the root itself depends on the origin.
func checkOrigin(ctx context.Context, s store.Log, st *store.State, log entry.OriginHash) error {
	if st.Raw || st.Size < store.TileWidth {
		return nil
	}
	leaves, err := leafData(ctx, s, false, log, 0, 1)
	if err != nil {
		return fmt.Errorf("entry 0: %w", err)
	}
	hashes, err := s.Tile(ctx, 0, 0)
	if err != nil {
		return fmt.Errorf("tile 0 of level 0: %w", err)
	}
	if hashes[0] != entry.LeafHash(leaves[0]) {
		return errors.New("the entries do not match the tiles: the origin is not the one that the log was made with, or the store is damaged")
	}
	return nil
}

// groupHeight is the height of the nodes that are stored with a tile.
const groupHeight = 4

// A tile is a full tile whose upper nodes, from groupHeight on, are proven by
// the tile above it. The nodes of a group of hashes are computed and compared
// with the group's root when the first of them is needed, because few proofs
// need all.
type tile struct {
	hashes []entry.Hash     // store.TileHashes
	upper  store.GroupNodes // above the group's roots
	groups [store.TileWidth / store.TileGroup]atomic.Pointer[store.GroupNodes]
}

// newTile returns the tile with the hashes, and its root.
func newTile(hashes []entry.Hash) (*tile, entry.Hash) {
	t := &tile{hashes: hashes}
	return t, t.upper.Compute(hashes[store.TileWidth:])
}

// node returns node at of height h, or nil if the tile's hashes are not those
// of its group's root.
func (t *tile) node(h uint, at uint64) *entry.Hash {
	switch {
	case h > groupHeight:
		return &t.upper[groupNode(h-groupHeight, at)]
	case h == groupHeight:
		return &t.hashes[store.TileWidth+at]
	}
	per := uint64(store.TileGroup >> h) // nodes of a group
	nodes := t.group(at / per)
	switch {
	case nodes == nil:
		return nil
	case h == 0:
		return &t.hashes[at]
	}
	return &nodes[groupNode(h, at%per)]
}

// groupNode returns the place of node at of height h > 0 in GroupNodes.
func groupNode(h uint, at uint64) uint64 {
	return store.TileGroup - store.TileGroup>>(h-1) + at
}

// group returns the nodes of a group, or nil if the hashes are not those of its
// root.
func (t *tile) group(i uint64) *store.GroupNodes {
	if nodes := t.groups[i].Load(); nodes != nil {
		return nodes
	}
	nodes := new(store.GroupNodes)
	if nodes.Compute(t.hashes[i*store.TileGroup:][:store.TileGroup]) != t.hashes[store.TileWidth+i] {
		return nil
	}
	t.groups[i].Store(nodes)
	return nodes
}

// all returns the 256 hashes of the tile, or nil if one is wrong.
func (t *tile) all() []entry.Hash {
	for i := range t.groups {
		if t.group(uint64(i)) == nil {
			return nil
		}
	}
	return t.hashes[:store.TileWidth]
}

// A tileCache keeps full tiles. They never change.
type tileCache struct {
	store store.Log
	// otter has a good hit rate under scans
	tiles *otter.Cache[tileID, *tile]
}

type tileID struct {
	level uint8
	index uint64
}

func newTileCache(s store.Log, size int) *tileCache {
	return &tileCache{s, otter.Must(&otter.Options[tileID, *tile]{MaximumSize: size})}
}

// put adds a tile that became full.
func (c *tileCache) put(full *store.Tile) {
	t, _ := newTile(full.Hashes)
	c.tiles.Set(tileID{full.Level, full.Index}, t)
}

// fullTile returns a full tile of the tree. The upper nodes of a tile from the
// store are checked against the tile above it, up to the edge, which leads to
// the root.
func (p *Published) fullTile(ctx context.Context, level uint8, index uint64) (*tile, error) {
	return p.fullTileFrom(ctx, p.tiles.store.Tile, level, index)
}

// A readTile returns the hashes of a full tile as Log.Tile does. They are not
// checked yet.
type readTile func(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error)

// fullTileFrom is fullTile with tiles that read returns, in place of those in
// the store.
func (p *Published) fullTileFrom(ctx context.Context, read readTile, level uint8, index uint64) (*tile, error) {
	id := tileID{level, index}
	if t, ok := p.tiles.tiles.GetIfPresent(id); ok {
		return t, nil
	}
	hashes, err := read(ctx, level, index)
	if err != nil {
		return nil, fmt.Errorf("tile %d of level %d: %w", index, level, err)
	}
	if len(hashes) != store.TileHashes {
		return nil, fmt.Errorf("tile %d of level %d: %w: it has %d hashes", index, level, ErrDamaged, len(hashes))
	}
	t, root := newTile(hashes)
	want, err := p.tileRoot(ctx, read, level, index)
	if err != nil {
		return nil, err
	}
	if root != *want {
		return nil, fmt.Errorf("tile %d of level %d: %w: its root is not in the tile above", index, level, ErrDamaged)
	}
	p.tiles.tiles.Set(id, t)
	return t, nil
}

func damagedTile(level uint8, index uint64) error {
	return fmt.Errorf("tile %d of level %d: %w: its hashes are not those of its nodes", index, level, ErrDamaged)
}

// tileRoot returns the hash of a full tile in the tile above it.
func (p *Published) tileRoot(ctx context.Context, read readTile, level uint8, index uint64) (*entry.Hash, error) {
	above, at := index/store.TileWidth, index%store.TileWidth
	if e := &p.edges[level+1]; above == e.index {
		return &e.tileNodes[0][at], nil
	}
	t, err := p.fullTileFrom(ctx, read, level+1, above)
	if err != nil {
		return nil, err
	}
	if root := t.node(0, at); root != nil {
		return root, nil
	}
	return nil, damagedTile(level+1, above)
}

// A Published is a public state of the log. It never changes.
type Published struct {
	Size       uint64
	Root       entry.Hash
	Time       uint64        // of the last entry, Unix milliseconds; 0 if there is none
	Checkpoint []byte        // signed note
	Superseded chan struct{} // closed when a larger state is published

	edges []edge
	tiles *tileCache
	tail  receipt.ProofTail // of Checkpoint, for receipts
}

// node returns a complete node of the tree.
func (p *Published) node(ctx context.Context, id compact.NodeID, last *lastTile) (*entry.Hash, error) {
	level, h := id.Level/tileHeight, id.Level%tileHeight
	in := id.Index >> (tileHeight - h)
	at := id.Index & (1<<(tileHeight-h) - 1)
	if int(level) < len(p.edges) {
		if e := &p.edges[level]; in < e.index {
			return p.tileNode(ctx, tileID{uint8(level), in}, h, at, last)
		} else if in == e.index && at < uint64(len(e.tileNodes[h])) {
			return &e.tileNodes[h][at], nil
		}
	}
	return nil, fmt.Errorf("node %d of height %d is not in the tree of size %d", id.Index, id.Level, p.Size)
}

// tileNode returns a node of a full tile.
func (p *Published) tileNode(ctx context.Context, id tileID, h uint, at uint64, last *lastTile) (*entry.Hash, error) {
	if last.tile == nil || last.tileID != id {
		t, err := p.fullTile(ctx, id.level, id.index)
		if err != nil {
			return nil, err
		}
		*last = lastTile{id, t}
	}
	if n := last.tile.node(h, at); n != nil {
		return n, nil
	}
	return nil, damagedTile(id.level, id.index)
}

// A lastTile avoids looking up a full tile for each of its nodes.
type lastTile struct {
	tileID
	tile *tile
}

func (p *Published) nodes(ctx context.Context, ids []compact.NodeID) ([][]byte, error) {
	out := make([][]byte, len(ids))
	var last lastTile
	for i, id := range ids {
		n, err := p.node(ctx, id, &last)
		if err != nil {
			return nil, err
		}
		out[i] = n[:]
	}
	return out, nil
}

// rootOf returns the root of the tree of a size up to the published one.
func (p *Published) rootOf(ctx context.Context, size uint64) (entry.Hash, error) {
	if size == 0 {
		return emptyRoot, nil
	}
	peaks, err := p.nodes(ctx, compact.RangeNodes(0, size, make([]compact.NodeID, 0, bits.OnesCount64(size))))
	if err != nil {
		return entry.Hash{}, err
	}
	root := entry.Hash(peaks[len(peaks)-1])
	for i := len(peaks) - 2; i >= 0; i-- {
		root = entry.NodeHash((*entry.Hash)(peaks[i]), &root)
	}
	return root, nil
}

// Tile returns the first width hashes of a tile, 1 ≤ width ≤ 256. Errors:
// ErrOutOfRange if the published tree has fewer.
func (p *Published) Tile(ctx context.Context, level uint8, index uint64, width int) ([]entry.Hash, error) {
	return p.tileOf(ctx, p.fullTile, level, index, width)
}

// tileOf is Tile with full tiles that full returns.
func (p *Published) tileOf(ctx context.Context, full func(context.Context, uint8, uint64) (*tile, error), level uint8, index uint64, width int) ([]entry.Hash, error) {
	if int(level) < len(p.edges) {
		e := &p.edges[level]
		var hashes []entry.Hash
		if index == e.index {
			hashes = e.tileNodes[0]
		} else if index < e.index {
			t, err := full(ctx, level, index)
			if err != nil {
				return nil, err
			}
			if hashes = t.all(); hashes == nil {
				return nil, damagedTile(level, index)
			}
		}
		if width <= len(hashes) {
			return hashes[:width], nil
		}
	}
	return nil, fmt.Errorf("tile %d of level %d with %d hashes: %w of size %d", index, level, width, ErrOutOfRange, p.Size)
}
