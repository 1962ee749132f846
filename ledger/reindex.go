package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A ReindexReport compares the stored projections with those computed from the
// log.
type ReindexReport struct {
	Entries uint64 `json:"entries"`
	Keys    uint64 `json:"keys"`     // deduplication keys computed from the log
	Terms   uint64 `json:"postings"` // search postings computed from the log
	Facts   uint64 `json:"facts"`    // entries whose facts were derived
	Streams int    `json:"streams"`
	Missing uint64 `json:"missing"` // computed, but not in the store
	Extra   uint64 `json:"extra"`   // in the store, but not computed
	Heads   uint64 `json:"heads"`   // stream heads that differ
	Tiles   uint64 `json:"tiles"`   // full tiles that differ or cannot be read
	// Unreadable is why the stored index, or the stream heads, cannot be read
	// to the end. What cannot be read is not counted.
	Unreadable string `json:"unreadable,omitempty"`
	Written    bool   `json:"written"`
}

// Same reports whether nothing differs.
func (r *ReindexReport) Same() bool {
	return r.Missing+r.Extra+r.Heads+r.Tiles == 0 && r.Unreadable == ""
}

func (r *ReindexReport) unreadable(err error) {
	if r.Unreadable != "" {
		r.Unreadable += "; "
	}
	r.Unreadable += err.Error()
}

// Reindex rebuilds all projections from skeletons and the remaining openings,
// and the full tiles from the leaves. It compares them with the stored ones. If
// write is set, it replaces those that differ or cannot be read. The leaves
// must lead to the root of the tree head. Reindex fills the scratch store,
// which must be empty. No ledger may be open on s. A raw log needs no origin.
// Without derive, no entry has facts.
//
// progress is called with the number of entries read so far. It may be nil.
func Reindex(ctx context.Context, s, scratch store.Store, origin string, derive Derive, write bool, progress func(done, total uint64)) (*ReindexReport, error) {
	st, err := s.Follow(ctx, 0)
	if err != nil {
		return nil, err
	}
	if _, err := scratch.Follow(ctx, 0); err != nil {
		return nil, err
	}
	r := &ReindexReport{Entries: st.Size}
	b := &rebuilder{store: s, state: st, origin: entry.HashOrigin(origin), ids: newIdentifier(&st.Secret), derive: derive, heads: map[entry.Hash]store.StreamHead{}, report: r, show: progress}
	if err := b.checkTiles(ctx); err != nil {
		return nil, err
	}
	if err := scratch.ReplaceProjections(ctx, b.projections(ctx), nil); err != nil {
		return nil, err
	}
	if err := b.compareHeads(ctx); err != nil {
		return nil, err
	}
	r.Missing, r.Extra, err = compare(scratch.Projections(ctx), s.Projections(ctx))
	if errors.Is(err, ErrDamaged) {
		r.Missing, r.Extra = 0, 0
		r.unreadable(err)
	} else if err != nil {
		return nil, err
	}
	if !write || r.Same() {
		return r, nil
	}
	b.show = nil // the passes that it shows are over
	if err := b.writeTiles(ctx); err != nil {
		return nil, fmt.Errorf("write the tiles: %w (run it again)", err)
	}
	if err := s.ReplaceProjections(ctx, scratch.Projections(ctx), slices.Collect(maps.Values(b.heads))); err != nil {
		return nil, fmt.Errorf("write the projections: %w (run it again)", err)
	}
	r.Written = true
	return r, nil
}

// A rebuilder computes projections from the log.
type rebuilder struct {
	store  store.Store
	state  *store.State
	origin entry.OriginHash
	ids    *identifier
	derive Derive
	heads  map[entry.Hash]store.StreamHead
	report *ReindexReport
	show   func(done, total uint64) // may be nil
}

// progress shows how many entries were read in two passes: one over the leaves,
// for the tiles, and one over the openings.
func (b *rebuilder) progress(done uint64) {
	if b.show != nil {
		b.show(done, 2*b.state.Size)
	}
}

// checkTiles counts the stored tiles that do not match the leaves. It returns
// an error unless the leaves lead to the root of the tree head.
func (b *rebuilder) checkTiles(ctx context.Context) error {
	t, err := b.eachBadTile(ctx, func(store.Tile) error {
		b.report.Tiles++
		return nil
	})
	if err != nil {
		return err
	}
	if root := t.root(); b.state.Size > 0 && root != b.state.Root {
		return fmt.Errorf("%w (or the origin differs from the one that the log was created with)", wrongRoot(root, b.state.Root))
	}
	return nil
}

// compareHeads counts the stored stream heads that differ from the computed
// ones.
func (b *rebuilder) compareHeads(ctx context.Context) error {
	b.report.Streams = len(b.heads)
	stored, err := b.store.StreamHeads(ctx)
	if errors.Is(err, ErrDamaged) {
		b.report.unreadable(err)
		return nil
	} else if err != nil {
		return err
	}
	found := map[entry.Hash]bool{}
	for _, h := range stored {
		found[h.StreamID] = true
		if b.heads[h.StreamID] != h {
			b.report.Heads++
		}
	}
	for id := range b.heads {
		if !found[id] {
			b.report.Heads++
		}
	}
	return nil
}

// maxTileBatch is how many tiles are written at once, 8 KiB each.
const maxTileBatch = 64

// writeTiles replaces the tiles that do not match the leaves.
func (b *rebuilder) writeTiles(ctx context.Context) error {
	if b.report.Tiles == 0 {
		return nil
	}
	var batch []store.Tile
	flush := func() error {
		err := b.store.ReplaceTiles(ctx, batch)
		batch = batch[:0]
		return err
	}
	if _, err := b.eachBadTile(ctx, func(t store.Tile) error {
		if batch = append(batch, t); len(batch) < maxTileBatch {
			return nil
		}
		return flush()
	}); err != nil || len(batch) == 0 {
		return err
	}
	return flush()
}

// eachBadTile computes the tree from the leaves. It calls f with the correct
// content of each full tile that is missing or wrong in the store.
func (b *rebuilder) eachBadTile(ctx context.Context, f func(store.Tile) error) (*tree, error) {
	return leafTree(ctx, b.store, b.state, b.origin, func(t store.Tile) error {
		if t.Level == 0 {
			b.progress((t.Index + 1) * store.TileWidth)
		}
		stored, err := b.store.Tile(ctx, t.Level, t.Index)
		switch {
		case err == nil && slices.Equal(stored, t.Hashes):
			return nil
		case err == nil || errors.Is(err, ErrDamaged) || errors.Is(err, store.ErrNotFound):
			return f(t)
		}
		return err
	})
}

const rebuildStep = 1024

func (b *rebuilder) projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		for from := uint64(0); from < b.state.Size; from += rebuildStep {
			to := min(from+rebuildStep, b.state.Size)
			if b.state.Raw {
				if !b.leaves(ctx, from, to, yield) {
					return
				}
				continue
			}
			skeletons, err := b.store.Skeletons(ctx, from, to)
			if err != nil {
				yield(store.Projection{}, err)
				return
			}
			for i := range skeletons {
				if !b.entry(ctx, from+uint64(i), &skeletons[i], yield) {
					return
				}
			}
			b.progress(b.state.Size + to)
		}
	}
}

// leaves yields the deduplication keys of raw leaves. They have no other
// projections.
func (b *rebuilder) leaves(ctx context.Context, from, to uint64, yield func(store.Projection, error) bool) bool {
	leaves, err := b.store.Leaves(ctx, from, to)
	if err != nil {
		yield(store.Projection{}, err)
		return false
	}
	for i, leaf := range leaves {
		b.report.Keys++
		if !yield(store.Projection{Key: &store.KeyAt{Key: b.ids.leafKey(leaf), Index: from + uint64(i)}}, nil) {
			return false
		}
	}
	b.progress(b.state.Size + to)
	return true
}

func (b *rebuilder) entry(ctx context.Context, index uint64, sk *entry.Skeleton, yield func(store.Projection, error) bool) bool {
	b.heads[sk.StreamID] = store.StreamHead{StreamID: sk.StreamID, Next: sk.Seq + 1, Last: sk.LeafHash(b.origin)}
	fail := func(err error) bool {
		yield(store.Projection{}, fmt.Errorf("entry %d: %w", index, err))
		return false
	}
	posting := func(t store.Term) bool {
		b.report.Terms++
		return yield(store.Projection{Posting: &store.PostingAt{Term: t, Index: index}}, nil)
	}
	opening, err := b.store.Header(ctx, index)
	if err != nil {
		return fail(err)
	}
	if err := checkHeader(index, sk, opening); err != nil {
		yield(store.Projection{}, err)
		return false
	}
	h, err := parseHeader(index, opening)
	if err != nil {
		yield(store.Projection{}, err)
		return false
	}
	if h == nil { // erased: only its place in the stream remains
		return posting(streamTerm(sk.StreamID))
	}
	payload, err := b.store.OpenPayload(ctx, index)
	if err != nil {
		return fail(err)
	}
	if payload != nil {
		key, err := b.ids.keyOf(sk.StreamID, h, payload.Size, payload)
		if err := errors.Join(err, payload.Close()); err != nil {
			return fail(err)
		}
		b.report.Keys++
		k := store.KeyAt{Key: key, Index: index}
		if !yield(store.Projection{Key: &k}, nil) {
			return false
		}
		row, err := b.derive.stored(ctx, b.store, index, sk.HeaderHash, h)
		if err != nil {
			return fail(err)
		}
		if row != nil {
			b.report.Facts++
			if !yield(store.Projection{Facts: &store.FactsAt{Index: index, Facts: row}}, nil) {
				return false
			}
		}
	}
	for _, t := range headerTerms(sk.StreamID, h) {
		if !posting(t) {
			return false
		}
	}
	return true
}

// compare counts the elements that are in only one of two sorted sequences.
func compare(want, have iter.Seq2[store.Projection, error]) (missing, extra uint64, err error) {
	nextWant, stopWant := iter.Pull2(want)
	defer stopWant()
	nextHave, stopHave := iter.Pull2(have)
	defer stopHave()
	w, werr, wok := nextWant()
	h, herr, hok := nextHave()
	for wok || hok {
		if err := errors.Join(werr, herr); err != nil {
			return 0, 0, err
		}
		c := 0
		switch {
		case !hok:
			c = -1
		case !wok:
			c = 1
		default:
			c = order(&w, &h)
		}
		if c < 0 {
			missing++
		} else if c > 0 {
			extra++
		}
		if c <= 0 {
			w, werr, wok = nextWant()
		}
		if c >= 0 {
			h, herr, hok = nextHave()
		}
	}
	return missing, extra, nil
}

// order compares in the order of Store.Projections: keys, postings, facts. Keys
// and postings are sorted by their bytes and then by index. Facts are sorted by
// index and then by their bytes.
func order(a, b *store.Projection) int {
	sort := sortOf(a)
	if c := cmp.Compare(sort, sortOf(b)); c != 0 {
		return c
	}
	byIndex := cmp.Compare(a.Index(), b.Index())
	switch sort {
	case sortKeys:
		return cmp.Or(bytes.Compare(a.Key.Key[:], b.Key.Key[:]), byIndex)
	case sortPostings:
		return cmp.Or(bytes.Compare(a.Posting.Term[:], b.Posting.Term[:]), byIndex)
	}
	return cmp.Or(byIndex, bytes.Compare(a.Facts.Facts, b.Facts.Facts))
}
