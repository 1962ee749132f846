package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// checkLog checks all that is published of a log against the definitions: the
// checkpoint, every leaf, tile and stream, and the receipts of every entry in
// every form. The tenants are those with entries. It returns the model of the
// tree.
func checkLog(t testing.TB, tl *testLog, tenants ...*testTenant) *naiveTree {
	t.Helper()
	return checkLogSample(t, tl, 1, tenants...)
}

// checkLogSample checks the receipts of every step-th entry only.
func checkLogSample(t testing.TB, tl *testLog, step uint64, tenants ...*testTenant) *naiveTree {
	t.Helper()
	p := tl.Published()
	tree := checkTree(t, tl, p)
	cp, _, err := tl.policy.VerifyCheckpoint(p.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if want := (receipt.Checkpoint{Origin: testOrigin, Size: p.Size, Root: tree.root(p.Size)}); cp != want || p.Root != want.Root {
		t.Fatalf("the published root is %s, the checkpoint says %+v, the leaves %+v", p.Root, cp, want)
	}
	checkTiles(t, p, tree)
	checkStreams(t, tl, p, tree, tenants)
	for i := uint64(0); i < p.Size; i += step {
		checkEntry(t, tl, i, tree, tenants)
	}
	checkProofs(t, p, tree, p.Size/2, p.Size)
	return tree
}

// checkTree reads the leaves from the entry bundles and compares them with the
// skeletons.
func checkTree(t testing.TB, tl *testLog, p *Published) *naiveTree {
	t.Helper()
	ctx := context.Background()
	skeletons, err := tl.cfg.Store.Skeletons(ctx, 0, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	leaves := make([]entry.Hash, 0, p.Size)
	last := uint64(0)
	for first := uint64(0); first < p.Size; first += store.TileWidth {
		bundle, err := tl.EntryBundle(ctx, first/store.TileWidth, int(min(store.TileWidth, p.Size-first)))
		if err != nil {
			t.Fatal(err)
		}
		for len(bundle) > 0 {
			i := uint64(len(leaves))
			n := binary.BigEndian.Uint16(bundle)
			data := bundle[2 : 2+n]
			bundle = bundle[2+n:]
			if want := skeletons[i].LeafData(tl.origin); !bytes.Equal(data, want[:]) {
				t.Fatalf("entry %d: the bundle holds %x, the skeleton makes %x", i, data, want)
			}
			leaf := entry.LeafHash(data)
			if got, err := tl.LeafHash(ctx, p, i); err != nil || got != leaf {
				t.Fatalf("entry %d: LeafHash returns %s, %v, the bundle makes %s", i, got, err, leaf)
			}
			if skeletons[i].Time < last {
				t.Fatalf("entry %d: its time %d is before that of the entry before, %d", i, skeletons[i].Time, last)
			}
			last = skeletons[i].Time
			leaves = append(leaves, leaf)
		}
	}
	if uint64(len(leaves)) != p.Size || p.Time != last {
		t.Fatalf("%d leaves, the last of time %d, published are %d and %d", len(leaves), last, p.Size, p.Time)
	}
	return newNaiveTree(leaves)
}

// checkTiles compares every tile of every level with its definition, full and
// with some partial widths, and looks beyond the last.
func checkTiles(t testing.TB, p *Published, tree *naiveTree) {
	t.Helper()
	ctx := context.Background()
	for level := uint8(0); level < 8; level++ {
		for index := uint64(0); ; index++ {
			want := tree.tile(p.Size, level, index)
			for _, width := range []int{1, len(want) / 2, len(want)} {
				if width == 0 {
					continue
				}
				got, err := p.Tile(ctx, level, index, width)
				if width > len(want) {
					wantErr(t, "a tile that isn't there", err, ErrOutOfRange)
				} else if err != nil || !slices.Equal(got, want[:width]) {
					t.Fatalf("tile %d of level %d in the tree of size %d, width %d: %v, or its hashes are wrong", index, level, p.Size, width, err)
				}
			}
			if len(want) < store.TileWidth {
				_, err := p.Tile(ctx, level, index, len(want)+1)
				wantErr(t, fmt.Sprintf("tile %d of level %d, width %d", index, level, len(want)+1), err, ErrOutOfRange)
				break
			}
		}
	}
}

// checkStreams follows each tenant's stream by its tags, as an auditor does,
// and compares it with the head and the list.
func checkStreams(t testing.TB, tl *testLog, p *Published, tree *naiveTree, tenants []*testTenant) {
	t.Helper()
	ctx := context.Background()
	at := map[entry.Hash]uint64{}
	skeletons, err := tl.cfg.Store.Skeletons(ctx, 0, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	for i := range skeletons {
		if j, twice := at[skeletons[i].Tag]; twice {
			t.Fatalf("entries %d and %d have the same tag", j, i)
		}
		at[skeletons[i].Tag] = uint64(i)
	}
	found := uint64(0)
	for _, tt := range tenants {
		var prev entry.Hash
		var indexes []uint64
		for seq := uint64(0); ; seq++ {
			i, ok := at[tt.stream.Key.Tag(seq)]
			if !ok {
				break
			}
			if s := skeletons[i]; s.StreamID != tt.stream.ID || s.Seq != seq || s.Prev != prev {
				t.Fatalf("entry %d of %s: its link is %s, %d, %s, it should be %s, %d, %s", i, tt.name, s.StreamID, s.Seq, s.Prev, tt.stream.ID, seq, prev)
			}
			prev = tree.leaves[i]
			indexes = append(indexes, i)
		}
		if !slices.IsSorted(indexes) {
			t.Fatalf("the stream of %s is not in the order of the log: %v", tt.name, indexes)
		}
		found += uint64(len(indexes))
		want := StreamHead{Entries: uint64(len(indexes))}
		if len(indexes) > 0 {
			want.LastIndex, want.LastLeaf = indexes[len(indexes)-1], prev
		}
		if head, err := tl.StreamHead(ctx, p, tt.stream); err != nil || head != want {
			t.Fatalf("head of %s: got %+v, %v, want %+v", tt.name, head, err, want)
		}
		if listed := listIndexes(t, tl.Ledger, tt.stream, Query{OldestFirst: true, Limit: 1000}); !slices.Equal(listed, indexes) {
			t.Fatalf("list of %s: got %v, want %v", tt.name, listed, indexes)
		}
	}
	if found != p.Size {
		t.Fatalf("the streams of the tenants have %d entries, the log %d", found, p.Size)
	}
}

// listIndexes reads all pages of a query.
func listIndexes(t testing.TB, l *Ledger, s *Stream, q Query) []uint64 {
	t.Helper()
	var out []uint64
	for {
		page, err := l.List(context.Background(), s, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > q.Limit || len(page.Entries) == 0 && page.Next != "" {
			t.Fatalf("a page of %d entries with the limit %d, next page %q", len(page.Entries), q.Limit, page.Next)
		}
		for _, e := range page.Entries {
			out = append(out, e.Index)
		}
		if q.Token = page.Next; q.Token == "" {
			return out
		}
	}
}

// checkEntry checks the entry as its tenant reads it, that other tenants cannot
// read it, and its receipt in every form.
func checkEntry(t testing.TB, tl *testLog, index uint64, tree *naiveTree, tenants []*testTenant) {
	t.Helper()
	ctx := context.Background()
	owner := (*testTenant)(nil)
	for _, tt := range tenants {
		e, err := tl.Entry(ctx, tt.stream, index)
		if err != nil {
			wantErr(t, fmt.Sprintf("entry %d for %s", index, tt.name), err, ErrNotFound)
			_, err = readPayload(ctx, tl.Ledger, tt.stream, index)
			wantErr(t, fmt.Sprintf("payload %d for %s", index, tt.name), err, ErrNotFound)
			_, err = tl.Receipt(ctx, tt.stream, index, ReceiptOptions{})
			wantErr(t, fmt.Sprintf("receipt %d for %s", index, tt.name), err, ErrNotFound)
			continue
		}
		if owner != nil {
			t.Fatalf("entry %d is given to %s and to %s", index, owner.name, tt.name)
		}
		owner = tt
		if e.Index != index || e.Skeleton.LeafHash(tl.origin) != tree.leaves[index] {
			t.Fatalf("entry %d is another one", index)
		}
		checkForms(t, tl, tt, index, tree)
		checkFacts(t, tl.Ledger, tt, index)
	}
	if owner == nil {
		t.Fatalf("entry %d is of no tenant", index)
	}
}

func checkForms(t testing.TB, tl *testLog, tt *testTenant, index uint64, tree *naiveTree) {
	t.Helper()
	ctx := context.Background()
	p := tl.Published()
	payload, err := readPayload(ctx, tl.Ledger, tt.stream, index)
	if err != nil {
		t.Fatal(err)
	}
	forms := []struct {
		form   receipt.Form
		o      ReceiptOptions
		verify receipt.Options
	}{
		{receipt.Detached, ReceiptOptions{}, receipt.Options{Payload: payload.Content, StreamKey: &tt.stream.Key}},
		{receipt.Full, ReceiptOptions{EmbedPayload: true}, receipt.Options{StreamKey: &tt.stream.Key}},
		{receipt.Shared, ReceiptOptions{Shared: true}, receipt.Options{Payload: payload.Content}},
		{receipt.Shared, ReceiptOptions{Shared: true, EmbedPayload: true}, receipt.Options{}},
	}
	for _, f := range forms {
		data, err := tl.Receipt(ctx, tt.stream, index, f.o)
		if err != nil {
			t.Fatalf("receipt of entry %d, form %s: %v", index, f.form, err)
		}
		f.verify.Tenant = &tt.name
		s, err := receipt.Verify(data, []*receipt.TrustPolicy{tl.policy}, f.verify)
		if err != nil {
			t.Fatalf("receipt of entry %d, form %s: %v", index, f.form, err)
		}
		if s.Index != index || s.Size != p.Size || s.Root != p.Root || s.LeafHash != tree.leaves[index] || s.PayloadSHA256 == nil {
			t.Fatalf("receipt of entry %d, form %s: it states %+v", index, f.form, s)
		}
		r, err := receipt.Parse(data)
		if err != nil || r.Form != f.form {
			t.Fatalf("receipt of entry %d: its form is %s, %v, not %s", index, r.Form, err, f.form)
		}
		if err := torchwood.VerifyProof(tl.policy.Torchwood(), tlog.Hash(s.LeafHash), r.Proof); err != nil {
			t.Fatalf("receipt of entry %d: torchwood refuses its proof: %v", index, err)
		}
	}
}

// checkProofs compares the proof that entry index is in the tree of the size,
// and the one that the tree of size index is its beginning, with the model. The
// index may be the size.
func checkProofs(t testing.TB, p *Published, tree *naiveTree, index, size uint64) {
	t.Helper()
	ctx := context.Background()
	if index > size {
		t.Fatalf("the test asks for the proof of %d in a tree of size %d", index, size)
	}
	if index < size {
		path, err := p.InclusionProof(ctx, index, size)
		if err != nil || !slices.Equal(path, tree.inclusion(index, size)) {
			t.Fatalf("inclusion of %d in the tree of size %d: %v, %v, want %v", index, size, path, err, tree.inclusion(index, size))
		}
		if err := receipt.VerifyInclusion(index, size, tree.leaves[index], path, tree.root(size)); err != nil {
			t.Fatal(err)
		}
	} else {
		_, err := p.InclusionProof(ctx, index, size)
		wantErr(t, "inclusion of an index that is the size", err, ErrOutOfRange)
	}
	path, err := p.ConsistencyProof(ctx, index, size)
	if err != nil || !slices.Equal(path, tree.consistency(index, size)) {
		t.Fatalf("consistency of size %d with size %d: %v, %v, want %v", index, size, path, err, tree.consistency(index, size))
	}
	if err := receipt.VerifyConsistency(index, size, tree.root(index), tree.root(size), path); err != nil {
		t.Fatal(err)
	}
}
