package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// leafOf makes leaf data of different lengths.
func leafOf(i int) []byte {
	return append(bytes.Repeat([]byte{byte(i)}, i*31%700), fmt.Sprint("leaf ", i)...)
}

func mustAppendLeaf(t *testing.T, tl *testLog, data []byte) *LeafResult {
	t.Helper()
	r, err := tl.AppendLeaf(context.Background(), data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkRawLog checks all that is published of a raw log of the leaves.
func checkRawLog(t *testing.T, tl *testLog, leaves [][]byte) {
	t.Helper()
	ctx := context.Background()
	p := tl.Published()
	if p.Size != uint64(len(leaves)) {
		t.Fatalf("the log has %d entries, want %d", p.Size, len(leaves))
	}
	var hashes []entry.Hash
	for first := 0; first < len(leaves); first += store.TileWidth {
		part := leaves[first:min(first+store.TileWidth, len(leaves))]
		var want []byte
		for _, leaf := range part {
			want = append(binary.BigEndian.AppendUint16(want, uint16(len(leaf))), leaf...)
			hashes = append(hashes, entry.LeafHash(leaf))
		}
		got, err := tl.EntryBundle(ctx, uint64(first/store.TileWidth), len(part))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the bundle at %d differs, %v", first, err)
		}
	}
	tree := newNaiveTree(hashes)
	cp, _, err := tl.policy.VerifyCheckpoint(p.Checkpoint)
	if err != nil || cp.Root != tree.root(p.Size) || cp.Size != p.Size {
		t.Fatalf("checkpoint %+v, %v, want the root %s", cp, err, tree.root(p.Size))
	}
	checkTiles(t, p, tree)
	checkProofs(t, p, tree, p.Size/2, p.Size)
}

func TestRawLog(t *testing.T) {
	tl := newTestLogOn(t, Config{}, memstore.NewRaw())
	var leaves [][]byte
	for _, size := range []int{1, 2, 255, 256, 257, 513} {
		for len(leaves) < size {
			leaf := leafOf(len(leaves))
			r := mustAppendLeaf(t, tl, leaf)
			if r.Index != uint64(len(leaves)) || r.Duplicate || r.Published.Size <= r.Index {
				t.Fatalf("leaf %d: got %+v", len(leaves), r)
			}
			leaves = append(leaves, leaf)
		}
		checkRawLog(t, tl, leaves)
		tl.restart(t)
		checkRawLog(t, tl, leaves)
		for _, i := range []int{0, size / 2, size - 1} {
			// known from before the restart, and again from memory
			r := mustAppendLeaf(t, tl, leaves[i])
			if !r.Duplicate || r.Index != uint64(i) || r.Published.Size != uint64(size) {
				t.Fatalf("leaf %d again: got %+v", i, r)
			}
		}
	}
	report, err := Reindex(context.Background(), tl.store, memstore.NewRaw(), testOrigin, testDerive, false, nil)
	if err != nil || !report.Same() || report.Keys != uint64(len(leaves)) {
		t.Fatalf("reindex: %+v, %v", report, err)
	}
}

func TestRawLogConcurrently(t *testing.T) {
	tl := newTestLogOn(t, Config{}, memstore.NewRaw())
	const n = 300
	at := make([]uint64, n)
	var g errgroup.Group
	for i := range 2 * n { // each leaf twice
		g.Go(func() error {
			r, err := tl.AppendLeaf(context.Background(), leafOf(i%n))
			if err == nil && i < n {
				at[i] = r.Index
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	leaves := make([][]byte, n)
	for i, index := range at {
		leaves[index] = leafOf(i)
	}
	checkRawLog(t, tl, leaves)
}

func TestLeafSizes(t *testing.T) {
	tl := newTestLogOn(t, Config{}, memstore.NewRaw())
	largest := bytes.Repeat([]byte{7}, store.MaxLeafSize)
	for _, data := range [][]byte{nil, {}, append(largest, 7)} {
		_, err := tl.AppendLeaf(context.Background(), data)
		wantErr(t, fmt.Sprintf("%d bytes", len(data)), err, ErrLeafSize, fmt.Sprint(len(data)))
	}
	mustAppendLeaf(t, tl, []byte{1})
	mustAppendLeaf(t, tl, largest)
	checkRawLog(t, tl, [][]byte{{1}, largest})
}

func TestKindOfLog(t *testing.T) {
	raw, streams := newTestLogOn(t, Config{}, memstore.NewRaw()), newTestLog(t, Config{})
	if _, err := raw.Append(context.Background(), []Draft{acme.draft("a")}); !errors.Is(err, errRaw) {
		t.Errorf("a draft in a raw log: got error %v", err)
	}
	if _, err := streams.AppendLeaf(context.Background(), []byte("a")); !errors.Is(err, errNotRaw) {
		t.Errorf("a raw leaf in a log of streams: got error %v", err)
	}
	for _, tl := range []*testLog{raw, streams} {
		if size := tl.Published().Size; size != 0 {
			t.Errorf("%d entries were recorded", size)
		}
	}
}

// Entries of a commit that is not yet durable are served neither in tiles nor
// as duplicates.
func TestRawLeafIsHiddenUntilDurable(t *testing.T) {
	tl := newTestLogOn(t, Config{}, memstore.NewRaw())
	mustAppendLeaf(t, tl, leafOf(0))
	visible, release := tl.hooks.block(t)
	first := make(chan *LeafResult, 1)
	go func() {
		r, _ := tl.AppendLeaf(context.Background(), leafOf(1))
		first <- r
	}()
	<-visible
	checkRawLog(t, tl, [][]byte{leafOf(0)})
	again := make(chan *LeafResult, 1)
	go func() {
		r, _ := tl.AppendLeaf(context.Background(), leafOf(1))
		again <- r
	}()
	tl.awaitPending(t, 1)
	select {
	case r := <-again:
		t.Fatalf("the same leaf was answered before it was durable: %+v", r)
	default:
	}
	release()
	a, b := <-first, <-again
	if a == nil || b == nil || a.Index != 1 || a.Duplicate || b.Index != 1 || !b.Duplicate {
		t.Fatalf("got %+v and %+v", a, b)
	}
	checkRawLog(t, tl, [][]byte{leafOf(0), leafOf(1)})
}

func TestFailedCommitOfRawLeaf(t *testing.T) {
	tl := newTestLogOn(t, Config{}, memstore.NewRaw())
	mustAppendLeaf(t, tl, leafOf(0))
	tl.hooks.fail(errors.New("broken disk"), nil)
	_, err := tl.AppendLeaf(context.Background(), leafOf(1))
	wantErr(t, "append", err, ErrFailed)
	if f := tl.fatals(); len(f) != 1 || !strings.Contains(f[0].Error(), "broken disk") {
		t.Fatalf("got %v", f)
	}
	tl.restart(t)
	checkRawLog(t, tl, [][]byte{leafOf(0)})
}

func TestDamagedRawLeafIsFound(t *testing.T) {
	tl := newTestLogOn(t, Config{}, memstore.NewRaw())
	mustAppendLeaf(t, tl, leafOf(3))
	tl.Close()
	tl.cfg.Store = damagedLeaf{tl.store.Restart()}
	if _, err := Open(context.Background(), tl.cfg); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got error %v", err)
	}
}

type damagedLeaf struct{ store.Store }

func (d damagedLeaf) Leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	leaves, err := d.Store.Leaves(ctx, from, to)
	if len(leaves) > 0 {
		leaves[0] = slices.Clone(leaves[0])
		leaves[0][0] ^= 1
	}
	return leaves, err
}
