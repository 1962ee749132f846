package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A witnessedLog is a log whose policy requires one witness.
type witnessedLog struct {
	*testLog
	witness *torchwood.CosignatureSigner
	policy  *receipt.TrustPolicy
}

func newWitnessedLog(t *testing.T) *witnessedLog { return newWitnessedLogOn(t, memstore.New()) }

func newWitnessedLogOn(t *testing.T, s store.Store) *witnessedLog {
	wl := &witnessedLog{}
	var err error
	if wl.witness, err = torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))); err != nil {
		t.Fatal(err)
	}
	wl.testLog = newTestLogOn(t, Config{Quorum: func(signed []byte) error {
		_, _, err := wl.policy.VerifyCheckpoint(signed)
		return err
	}}, s)
	text := fmt.Sprintf("log %s\nwitness w %s\nquorum w\n", wl.logKey, wl.witness.Verifier())
	if wl.policy, err = receipt.ParseTrustPolicy("witnessed", []byte(text)); err != nil {
		t.Fatal(err)
	}
	return wl
}

// cosigned returns the latest checkpoint with the witness's cosignature.
func (wl *witnessedLog) cosigned(t *testing.T) []byte {
	t.Helper()
	return cosign(t, wl.Published().Checkpoint, wl.witness)
}

func cosign(t *testing.T, signed []byte, s note.Signer) []byte {
	t.Helper()
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	more, err := note.Sign(&note.Note{Text: string(text) + "\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := bytes.Cut(more, []byte("\n\n"))
	return append(bytes.Clone(signed), line...)
}

func TestWitnessed(t *testing.T) {
	ctx := context.Background()
	wl := newWitnessedLog(t)
	verify := func(when string, index uint64, o ReceiptOptions, size uint64, witnessed bool) {
		t.Helper()
		data, err := wl.Receipt(ctx, acme.stream, index, o)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		s, err := receipt.Verify(data, []*receipt.TrustPolicy{wl.policy}, receipt.Options{HeaderOnly: true})
		if (err == nil) != witnessed {
			t.Fatalf("%s: the receipt of entry %d with %+v: witnessed should be %v: %v", when, index, o, witnessed, err)
		}
		if err == nil && s.Size != size {
			t.Fatalf("%s: the receipt is at size %d, want %d", when, s.Size, size)
		}
	}
	refuse := func(when string, index uint64, o ReceiptOptions, want error, says string) {
		t.Helper()
		_, err := wl.Receipt(ctx, acme.stream, index, o)
		wantErr(t, when, err, want, says)
	}
	if wl.Witnessed() != nil {
		t.Fatal("a new log has a witnessed checkpoint")
	}
	wl.mustAppend(t, acme.drafts("a", 2)...)
	verify("before", 0, ReceiptOptions{}, 0, false)
	refuse("before", 0, ReceiptOptions{Witnessed: true}, ErrNotWitnessed, "no checkpoint is witnessed")
	refuse("before", 0, ReceiptOptions{Witnessed: true, Size: 2}, ErrNotWitnessed, "size 2")

	waiting := make(chan error, 1)
	go func() { waiting <- wl.AwaitWitnessed(ctx, 4) }()
	if err := wl.Cosign(ctx, wl.cosigned(t)); err != nil {
		t.Fatal(err)
	}
	verify("at 2", 1, ReceiptOptions{}, 2, true)
	wl.mustAppend(t, acme.drafts("b", 3)...)
	verify("at 5", 1, ReceiptOptions{}, 5, false)
	verify("at 5", 1, ReceiptOptions{Witnessed: true}, 2, true)
	refuse("at 5", 2, ReceiptOptions{Witnessed: true}, ErrNotWitnessed, "entry 2 is not witnessed yet; the latest witnessed checkpoint has size 2")
	refuse("at 5", 1, ReceiptOptions{Witnessed: true, Size: 5}, ErrNotWitnessed, "size 5")
	refuse("at 5", 0, ReceiptOptions{Witnessed: true, Size: 1}, ErrNotWitnessed, "the next one is 2")
	refuse("at 5", 0, ReceiptOptions{Witnessed: true, Size: 6}, ErrOutOfRange, "tree size: ")
	late := wl.Published().Checkpoint
	select {
	case err := <-waiting:
		t.Fatalf("entry 4 is said to be witnessed at size 2: %v", err)
	default:
	}
	wl.clock.pass(10 * time.Second)
	if err := wl.Cosign(ctx, wl.cosigned(t)); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	wl.mustAppend(t, acme.drafts("c", 1)...)
	wl.clock.pass(10 * time.Second)
	if err := wl.Cosign(ctx, wl.cosigned(t)); err != nil {
		t.Fatal(err)
	}
	if err := wl.Cosign(ctx, cosign(t, late, wl.witness)); err != nil { // of a slow witness
		t.Fatal(err)
	}
	if w := wl.Witnessed(); w.Size != 6 {
		t.Fatalf("a late cosignature brings the witnessed checkpoint back to size %d", w.Size)
	}
	for range 2 {
		verify("at 6", 5, ReceiptOptions{}, 6, true)
		verify("at 6", 1, ReceiptOptions{Size: 2}, 2, true)
		verify("at 6", 4, ReceiptOptions{Size: 5, Witnessed: true}, 5, true)
		wl.restart(t)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	wantErr(t, "wait for an entry to come", wl.AwaitWitnessed(ended, 6), ErrNotWitnessed, "entry 6 is recorded")
}

// A busy log keeps a witnessed checkpoint at intervals, and always the latest.
func TestWitnessedNowAndThen(t *testing.T) {
	ctx := context.Background()
	wl := newWitnessedLog(t)
	for i := range 40 {
		wl.mustAppend(t, acme.drafts(fmt.Sprint(i), 1)...)
		if err := wl.Cosign(ctx, wl.cosigned(t)); err != nil {
			t.Fatal(err)
		}
		if i == 20 {
			wl.restart(t)
		}
		wl.clock.pass(time.Second)
		if w := wl.Witnessed(); w.Size != uint64(i)+1 {
			t.Fatalf("size %d is witnessed, not %d", w.Size, i+1)
		}
		if _, err := wl.Receipt(ctx, acme.stream, 0, ReceiptOptions{Witnessed: true, Size: uint64(i) + 1}); err != nil {
			t.Fatal(err)
		}
	}
	var kept []uint64
	for size := uint64(0); ; size++ {
		c, err := wl.store.Cosigned(ctx, size)
		if errors.Is(err, store.ErrNotFound) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		size = c.Size
		kept = append(kept, size)
	}
	if fmt.Sprint(kept) != "[10 20 21 31 40]" {
		t.Fatalf("kept are the checkpoints of the sizes %d", kept)
	}
}

// Only the log's own published checkpoints that meet the quorum are accepted as
// cosigned.
func TestCosignRefuses(t *testing.T) {
	ctx := context.Background()
	wl, other := newWitnessedLog(t), newTestLog(t, Config{})
	wl.mustAppend(t, acme.drafts("a", 3)...)
	other.mustAppend(t, acme.drafts("b", 3)...)
	good := wl.cosigned(t)
	c, err := receipt.ParseCheckpointUnverified(good)
	if err != nil {
		t.Fatal(err)
	}
	c.Size++
	ahead, err := c.Sign(wl.cfg.Signer, wl.witness)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signed []byte
		want   error
	}{
		"not cosigned":           {wl.Published().Checkpoint, ErrNotWitnessed},
		"garbage":                {[]byte("garbage"), nil},
		"beyond the log":         {ahead, ErrOutOfRange},
		"another tree":           {cosign(t, other.Published().Checkpoint, wl.witness), nil},
		"a cosignature of other": {bytes.Replace(good, []byte("— witness.example "), []byte("— witness.example B"), 1), nil},
	} {
		if err := wl.Cosign(ctx, c.signed); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
	}
	if w := wl.Witnessed(); w != nil {
		t.Fatalf("the log has a witnessed checkpoint: %q", w.Checkpoint)
	}
	if len(wl.fatals()) > 0 {
		t.Fatal(wl.fatals())
	}
}

// A checkpoint that was kept under another policy is not served as witnessed.
func TestWitnessedUnderAnotherPolicy(t *testing.T) {
	wl := newWitnessedLog(t)
	wl.mustAppend(t, acme.drafts("a", 1)...)
	if err := wl.Cosign(context.Background(), wl.cosigned(t)); err != nil {
		t.Fatal(err)
	}
	wl.cfg.Quorum = func([]byte) error { return errors.New("another witness is asked for") }
	wl.restart(t)
	if wl.Witnessed() != nil {
		t.Fatal("a checkpoint that does not meet the policy is witnessed")
	}
}

func TestNoQuorum(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.drafts("a", 1)...)
	if w := tl.Witnessed(); w.Size != 1 || !bytes.Equal(w.Checkpoint, tl.Published().Checkpoint) {
		t.Fatalf("without a quorum the latest checkpoint is served, not %+v", w)
	}
	_, err := tl.Receipt(ctx, acme.stream, 0, ReceiptOptions{Witnessed: true})
	wantErr(t, "a witnessed receipt", err, ErrNoQuorum)
	wantErr(t, "waiting", tl.AwaitWitnessed(ctx, 0), ErrNoQuorum)

	w, err := torchwood.NewCosignatureSigner("witness.example", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	if err := tl.Cosign(ctx, cosign(t, tl.Published().Checkpoint, w)); err != nil {
		t.Fatal(err)
	}
	data, err := tl.Receipt(ctx, acme.stream, 0, ReceiptOptions{})
	if err != nil || !strings.Contains(string(data), `\n— witness.example `) {
		t.Fatalf("the receipt has no cosignature: %v, %s", err, data)
	}
	tl.mustAppend(t, acme.drafts("b", 1)...)
	if w := tl.Witnessed(); w.Size != 2 {
		t.Fatalf("without a quorum the latest checkpoint is served, not that of size %d", w.Size)
	}
}

func TestHold(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.Hold(fmt.Errorf("%w: no witness has answered", ErrUnconfirmed))
	_, err := tl.Append(ctx, acme.drafts("a", 1))
	wantErr(t, "append", err, ErrUnconfirmed, "no witness has answered")
	wantErr(t, "ready", tl.Ready(), ErrUnconfirmed)
	if n := len(tl.refusals()); n != 1 {
		t.Fatalf("%d refusals were counted", n)
	}
	tl.Release()
	first := acme.drafts("a", 1)
	tl.mustAppend(t, first...)
	if err := tl.Ready(); err != nil {
		t.Fatal(err)
	}
	tl.Hold(ErrUnconfirmed)
	tl.mustAppend(t, first...) // a duplicate writes nothing
	_, err = tl.Append(ctx, acme.drafts("b", 1))
	wantErr(t, "append", err, ErrUnconfirmed)
}

// A delta carries the latest witnessed checkpoint, and the replica's receipts
// contain it.
func TestWitnessedReplica(t *testing.T) {
	ctx := context.Background()
	wl := newWitnessedLog(t)
	replica := memstore.NewRaw()
	wl.mustAppend(t, acme.drafts("a", 3)...)
	var none bytes.Buffer
	_, err := wl.Export(ctx, &none, 0, nil, nil)
	wantErr(t, "export before the first cosignature", err, ErrNotWitnessed)
	carried := &testLog{policy: wl.policy}
	for _, since := range []uint64{0, 3} {
		if err := wl.Cosign(ctx, wl.cosigned(t)); err != nil {
			t.Fatal(err)
		}
		wl.mustAppend(t, acme.drafts(fmt.Sprint("after ", since), 2)...)
		if _, err := importDelta(carried, replica, export(t, wl.testLog, since, acme), acme); err != nil {
			t.Fatal(err)
		}
	}
	l, err := OpenReplica(ctx, Config{Store: replica}, wl.policy)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{0, 3, 5} {
		data, err := l.Receipt(ctx, acme.stream, 1, ReceiptOptions{Witnessed: true, Size: size})
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if s, err := receipt.Verify(data, []*receipt.TrustPolicy{wl.policy}, receipt.Options{HeaderOnly: true}); err != nil || size != 0 && s.Size != size || size == 0 && s.Size != 5 {
			t.Fatalf("size %d: %v, %+v", size, err, s)
		}
	}
}
