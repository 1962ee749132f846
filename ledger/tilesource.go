package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A TileSource has full tiles and entry bundles of the log elsewhere than in
// its store. What it returns is checked against the tree before it is used.
type TileSource interface {
	// FullTile returns the 256 hashes of a tile as C2SP tlog-tiles encodes
	// them.
	FullTile(ctx context.Context, level uint8, index uint64) ([]byte, error)
	// FullBundle returns the bundle of 256 entries, or an error if it has more
	// than limit bytes.
	FullBundle(ctx context.Context, index uint64, limit int) ([]byte, error)
	// Refuse is called with the reason if the copy has returned something that
	// is not the log's.
	Refuse(reason error)
}

// ErrNotCopied is the error of a TileSource that does not have a tile, or that
// cannot be read at present.
var ErrNotCopied = errors.New("not in the copy of the log")

// TileFrom is Published.Tile with full tiles from the copy. The store is read
// for those that the copy lacks, and for those that are damaged there. A nil
// copy has none.
func (p *Published) TileFrom(ctx context.Context, c TileSource, level uint8, index uint64, width int) ([]entry.Hash, error) {
	if c == nil {
		return p.Tile(ctx, level, index, width)
	}
	return p.tileOf(ctx, func(ctx context.Context, level uint8, index uint64) (*tile, error) {
		return p.copiedTile(ctx, c, level, index)
	}, level, index, width)
}

// copiedTile is fullTile with tiles from the copy.
func (p *Published) copiedTile(ctx context.Context, c TileSource, level uint8, index uint64) (*tile, error) {
	t, wrong := p.fullTileFrom(ctx, func(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
		data, err := c.FullTile(ctx, level, index)
		if err != nil {
			return p.tiles.store.Tile(ctx, level, index)
		}
		return parseTile(data)
	}, level, index)
	if wrong == nil {
		return t, nil
	}
	t, err := p.fullTile(ctx, level, index)
	if err == nil { // so the store is not what is damaged
		refuse(c, wrong)
	}
	return t, err
}

// refuse reports that the copy has something else than the log.
func refuse(c TileSource, err error) {
	if errors.Is(err, ErrDamaged) {
		c.Refuse(err)
	}
}

// parseTile returns the hashes of a full tile, and the nodes that the store has
// with them.
func parseTile(data []byte) ([]entry.Hash, error) {
	if len(data) != store.TileWidth*entry.HashSize {
		return nil, fmt.Errorf("%w: %d bytes are no full tile", ErrDamaged, len(data))
	}
	nodes := newTileNodes()
	for ; len(data) > 0; data = data[entry.HashSize:] {
		nodes.push(entry.Hash(data[:entry.HashSize]))
	}
	return append(append(make([]entry.Hash, 0, store.TileHashes), nodes[0]...), nodes[groupHeight]...), nil
}

// EntryBundleFrom is EntryBundle with full bundles from the copy, as TileFrom
// has full tiles.
func (l *Ledger) EntryBundleFrom(ctx context.Context, c TileSource, index uint64, width int) ([]byte, error) {
	if c == nil || width != store.TileWidth {
		return l.EntryBundle(ctx, index, width)
	}
	p := l.Published()
	if index >= p.Size/store.TileWidth {
		return l.EntryBundle(ctx, index, width)
	}
	data, wrong := l.copiedBundle(ctx, c, p, index)
	if wrong == nil {
		return data, nil
	}
	data, err := l.EntryBundle(ctx, index, width)
	if err == nil {
		refuse(c, wrong)
	}
	return data, err
}

func (l *Ledger) copiedBundle(ctx context.Context, c TileSource, p *Published, index uint64) ([]byte, error) {
	size := entry.LeafSize
	if l.raw && !l.replica { // the leaves of a replica are those of its log
		size = store.MaxLeafSize
	}
	data, err := c.FullBundle(ctx, index, store.TileWidth*(2+size))
	if err != nil {
		return nil, err
	}
	leaves, err := parseBundle(data)
	if err != nil {
		return nil, fmt.Errorf("entry bundle %d: %w", index, err)
	}
	hashes, err := p.TileFrom(ctx, c, 0, index, store.TileWidth)
	if err != nil {
		return nil, err
	}
	for i, data := range leaves {
		if entry.LeafHash(data) != hashes[i] {
			return nil, fmt.Errorf("entry bundle %d: %w: entry %d does not match its leaf", index, ErrDamaged, index*store.TileWidth+uint64(i))
		}
	}
	return data, nil
}

// parseBundle returns the leaves of a full bundle.
func parseBundle(data []byte) ([][]byte, error) {
	leaves := make([][]byte, store.TileWidth)
	for i := range leaves {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("%w: it ends within entry %d of %d", ErrDamaged, i, store.TileWidth)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		leaves[i], data = data[2:end], data[end:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes follow its last entry", ErrDamaged, len(data))
	}
	return leaves, nil
}

// CheckpointFrom returns the smallest checkpoint that the log has kept and that
// meets the quorum of its policies, from a size on. If none was kept, it
// returns the latest. Without one of that size or larger, it returns none.
func (l *Ledger) CheckpointFrom(ctx context.Context, from uint64) (size uint64, signed []byte, err error) {
	latest := l.Witnessed()
	if latest == nil || latest.Size < from {
		return 0, nil, nil
	}
	find := l.store.Checkpoint
	if l.RequiresWitness() {
		find = l.store.Cosigned
	}
	kept, err := ifThere(find(ctx, from))
	if err != nil {
		return 0, nil, fmt.Errorf("checkpoint of size %d: %w", from, err)
	}
	if kept == nil || kept.Size >= latest.Size {
		return latest.Size, latest.Checkpoint, nil
	}
	switch _, err := l.checkCosigned(ctx, l.Published(), kept.Signed); {
	case errors.Is(err, ErrNotWitnessed): // the policies have changed since
		return latest.Size, latest.Checkpoint, nil
	case err != nil:
		return 0, nil, err
	}
	return kept.Size, kept.Signed, nil
}
