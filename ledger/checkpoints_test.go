package ledger

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"muniment.dev/muniment/ledger/receipt"
)

// Receipts exist for each published size, and for no other.
func TestReceiptAtEarlierSize(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	var published []uint64
	var checkpoints []string
	grow := func(name string, steps ...int) {
		for i, n := range steps {
			tl.mustAppend(t, acme.drafts(fmt.Sprint(name, i), n)...)
			published = append(published, tl.Published().Size)
			checkpoints = append(checkpoints, string(tl.Published().Checkpoint))
		}
	}
	check := func(when string) {
		t.Helper()
		tree := checkTree(t, tl, tl.Published())
		latest := published[len(published)-1]
		for size := uint64(1); size <= latest; size++ {
			i, ok := slices.BinarySearch(published, size)
			for _, index := range []uint64{0, size / 2, size - 1} {
				data, err := tl.Receipt(ctx, acme.stream, index, ReceiptOptions{Size: size})
				if !ok {
					wantErr(t, fmt.Sprintf("%s: receipt at size %d", when, size), err, ErrNoCheckpoint, "tree size: ", fmt.Sprintf("(%d); the next one is %d", size, published[i]))
					continue
				}
				if err != nil {
					t.Fatalf("%s: receipt of entry %d at size %d: %v", when, index, size, err)
				}
				s, err := receipt.Verify(data, []*receipt.TrustPolicy{tl.policy}, receipt.Options{HeaderOnly: true, StreamKey: &acme.stream.Key})
				if err != nil || s.Index != index || s.Size != size || s.Root != tree.root(size) {
					t.Fatalf("%s: receipt of entry %d at size %d: %v, %+v", when, index, size, err, s)
				}
				r, err := receipt.Parse(data)
				if err != nil {
					t.Fatal(err)
				}
				if p, err := receipt.ParseProof(string(r.Proof)); err != nil || string(p.Checkpoint) != checkpoints[i] {
					t.Fatalf("%s: the receipt at size %d has another checkpoint than was published: %v", when, size, err)
				}
			}
			if ok && size < latest {
				_, err := tl.Receipt(ctx, acme.stream, size, ReceiptOptions{Size: size})
				wantErr(t, fmt.Sprintf("%s: receipt of entry %d at size %d", when, size, size), err, ErrOutOfRange, "index: ")
			}
		}
		_, err := tl.Receipt(ctx, acme.stream, 0, ReceiptOptions{Size: latest + 1})
		wantErr(t, when+": receipt beyond the log", err, ErrOutOfRange, "tree size: ")
		_, err = tl.Receipt(ctx, acme.stream, latest, ReceiptOptions{})
		wantErr(t, when+": receipt of an entry beyond the log", err, ErrOutOfRange, "index: ")
		_, err = tl.Entry(ctx, acme.stream, latest)
		wantErr(t, when+": entry beyond the log", err, ErrOutOfRange, "index: ")
	}
	grow("a", 1, 3, 1, 10, 2)
	check("at once")
	tl.restart(t)
	check("after a restart")
	tl.restart(t)
	grow("b", 5, 1, 250)
	check("after a restart and more")
	tl.restart(t)
	tl.restart(t)
	check("after two restarts")
}

// The receipt of a duplicate is at the latest checkpoint.
func TestReceiptOfDuplicate(t *testing.T) {
	tl := newTestLog(t, Config{})
	d := acme.draft("evidence")
	if s := tl.checkReceipt(t, tl.mustAppend(t, d)[0], &d); s.Size != 1 {
		t.Errorf("the first receipt is at size %d", s.Size)
	}
	tl.fill(t, "other", 10)
	if s := tl.checkReceipt(t, tl.mustAppend(t, d)[0], &d); s.Size != 11 {
		t.Errorf("the second receipt is at size %d", s.Size)
	}
}

// Erased parts are missing from entries and receipts, and the remaining parts
// verify.
func TestErased(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 3)
	tl.store.ErasePayload(0)
	tl.store.ErasePayload(1)
	tl.store.EraseHeader(1)
	for index, form := range []receipt.Form{receipt.PayloadErased, receipt.HeaderErased} {
		i := uint64(index)
		e, err := tl.Entry(ctx, acme.stream, i)
		if err != nil || (e.Header == nil) != (form == receipt.HeaderErased) {
			t.Errorf("entry %d: %+v, %v", i, e, err)
		}
		if p, err := readPayload(ctx, tl.Ledger, acme.stream, i); err != nil || p != nil {
			t.Errorf("payload %d: %v, %v", i, p, err)
		}
		data, err := tl.Receipt(ctx, acme.stream, i, ReceiptOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := receipt.Parse(data); err != nil || r.Form != form {
			t.Errorf("receipt %d: form %s, %v", i, r.Form, err)
		}
		s, err := receipt.Verify(data, []*receipt.TrustPolicy{tl.policy}, receipt.Options{HeaderOnly: true, StreamKey: &acme.stream.Key})
		if err != nil || s.Index != i {
			t.Errorf("receipt %d: %v", i, err)
		}
		_, err = tl.Receipt(ctx, acme.stream, i, ReceiptOptions{Shared: true})
		wantErr(t, "a shared receipt", err, ErrErased)
		_, err = tl.Receipt(ctx, acme.stream, i, ReceiptOptions{EmbedPayload: true})
		wantErr(t, "a full receipt", err, ErrErased)
	}
	if got := listIndexes(t, tl.Ledger, acme.stream, Query{Filter: Filter{Kind: "attestation"}, Limit: 2}); !slices.Equal(got, []uint64{2, 0}) {
		t.Errorf("list by a member of the header: %v", got)
	}
	if got := listIndexes(t, tl.Ledger, acme.stream, Query{Limit: 2}); !slices.Equal(got, []uint64{2, 1, 0}) {
		t.Errorf("list of all: %v", got)
	}
}
