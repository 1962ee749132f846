package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/store"
)

// put adds leaves to the next commit, without those that an interrupted import
// has written.
func (im *importer) put(ctx context.Context, first uint64, leaves []store.Leaf, postings []store.PostingAt) error {
	facts := im.facts
	im.facts = nil
	if written := im.state.Size; first < written {
		n := min(written-first, uint64(len(leaves)))
		if err := im.compare(ctx, first, leaves[:n]); err != nil {
			return err
		}
		if n == uint64(len(leaves)) {
			im.tree.takeFull() // written with these
			return nil
		}
		first, leaves = first+n, leaves[n:]
		for len(postings) > 0 && postings[0].Index < first {
			postings = postings[1:]
		}
	}
	if im.commit == nil {
		im.commit = &store.Commit{From: first}
	}
	c := im.commit
	c.Leaves, c.Postings, c.Facts = append(c.Leaves, leaves...), append(c.Postings, postings...), append(c.Facts, facts...)
	for i := range facts {
		im.bytes += len(facts[i].Facts)
	}
	for i := range leaves {
		im.bytes += len(leaves[i].Data)
		if r := leaves[i].Record; r != nil && r.Header != nil {
			im.bytes += len(r.Header.Content)
		}
		if r := leaves[i].Record; r != nil && r.Payload != nil {
			im.bytes += len(r.Payload.Content)
		}
	}
	if first+uint64(len(leaves)) < im.header.To && (len(c.Leaves) >= importEntries || im.bytes >= importBytes) {
		return im.flush(ctx)
	}
	return nil
}

// compare checks that an interrupted import wrote entries of the same delta.
func (im *importer) compare(ctx context.Context, first uint64, leaves []store.Leaf) error {
	written, err := im.store.Leaves(ctx, first, first+uint64(len(leaves)))
	if err != nil {
		return err
	}
	for i := range leaves {
		same := bytes.Equal(written[i], leaves[i].Data)
		if same && leaves[i].Record != nil {
			_, err := im.store.Header(ctx, first+uint64(i))
			same = !errors.Is(err, store.ErrNotFound)
		}
		if !same {
			return fmt.Errorf("%w: an interrupted import of another delta wrote entry %d: finish it first", ErrDelta, first+uint64(i))
		}
	}
	return nil
}

// flush writes the next commit.
func (im *importer) flush(ctx context.Context) error {
	c := im.commit
	free, err := im.store.FreeBytes()
	if err != nil {
		return err
	}
	if free < im.o.ReserveBytes {
		return fmt.Errorf("%w: %d MiB are free, and %d MiB are reserved: make room, and import the same file again to continue at entry %d", ErrDiskFull, free>>20, im.o.ReserveBytes>>20, c.From)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted before entry %d: %w; import the same file again to continue", c.From, err)
	}
	c.Tiles, c.Root = im.tree.takeFull(), im.tree.root()
	for _, s := range im.streams {
		if s.next > 0 {
			c.Heads = append(c.Heads, store.StreamHead{StreamID: s.id, Next: s.next, Last: s.last})
		}
	}
	if err := im.store.Commit(ctx, c); err != nil {
		return fmt.Errorf("import entries %d to %d: %w", c.From, c.From+uint64(c.Len())-1, err)
	}
	im.commit, im.bytes, im.large = nil, 0, nil
	if c.Checkpoint == nil {
		return nil
	}
	return im.store.Mark(c.Checkpoint)
}
