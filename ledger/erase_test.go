package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// erase records an erasure as package ingest does.
func (tl *testLog) erase(t *testing.T, tt *testTenant, index uint64, header bool) *Erasure {
	t.Helper()
	e, err := tl.PlanErasure(context.Background(), tt.stream, index, header)
	if err != nil {
		t.Fatal(err)
	}
	d := tt.erasure(index, e.Scope())
	d.Erase = e
	tl.mustAppend(t, d)
	return e
}

// erasure returns a draft that records the erasure of an entry.
func (tt *testTenant) erasure(index uint64, scope string) Draft {
	return tt.draft("erased", func(h *entry.Header) {
		h.Kind, h.IdempotencyKey = ErasureKind, fmt.Sprintf("%d %s", index, scope)
		h.Attributes = map[string]string{"entry": fmt.Sprint(index), "scope": scope}
	})
}

func (tl *testLog) form(t *testing.T, tt *testTenant, index uint64) receipt.Form {
	t.Helper()
	data, err := tl.Receipt(context.Background(), tt.stream, index, ReceiptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := receipt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Verify(data, []*receipt.TrustPolicy{tl.policy}, receipt.Options{HeaderOnly: true, StreamKey: &tt.stream.Key}); err != nil {
		t.Fatalf("receipt of entry %d: %v", index, err)
	}
	return r.Form
}

// wantSameIndex checks that the log derives exactly the stored projections.
func (tl *testLog) wantSameIndex(t *testing.T, when string) {
	t.Helper()
	r, err := Reindex(context.Background(), tl.cfg.Store, memstore.New(), testOrigin, testDerive, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Same() {
		t.Errorf("%s: the log gives other projections than the store has: %+v", when, r)
	}
}

func TestErase(t *testing.T) {
	tl := newTestLog(t, Config{})
	secret, other := acme.draft("secret"), globex.draft("secret")
	before := tl.mustAppend(t, acme.draft("a"), secret, acme.draft("b"), other, acme.draft("c"))

	tl.erase(t, acme, 1, false)
	tl.erase(t, acme, 2, true)
	check := func(when string) {
		t.Helper()
		for i, want := range []receipt.Form{receipt.Detached, receipt.PayloadErased, receipt.HeaderErased} {
			if got := tl.form(t, acme, uint64(i)); got != want {
				t.Errorf("%s: the receipt of entry %d is %s, want %s", when, i, got, want)
			}
		}
		if got := tl.form(t, globex, 3); got != receipt.Detached {
			t.Errorf("%s: the receipt of the other tenant's entry is %s", when, got)
		}
		for i, d := range []Draft{acme.draft("a"), secret, acme.draft("b"), other, acme.draft("c")} {
			// receipts that people have
			tl.checkReceipt(t, before[i], &d)
		}
		tl.wantSameIndex(t, when)
	}
	check("at once")
	if r := tl.mustAppend(t, globex.draft("secret"))[0]; !r.Duplicate || r.Index != 3 {
		t.Errorf("the other tenant's evidence again: %+v", r)
	}
	_, err := tl.PlanErasure(context.Background(), acme.stream, 1, false)
	wantErr(t, "to erase again", err, ErrErased, "index: ")
	_, err = tl.PlanErasure(context.Background(), acme.stream, 3, true)
	wantErr(t, "to erase another tenant's entry", err, ErrNotFound, "index: ")
	_, err = tl.PlanErasure(context.Background(), acme.stream, 7, true)
	wantErr(t, "to erase what is not there", err, ErrOutOfRange, "index: ")
	tl.restart(t)
	check("after a restart")

	r := tl.mustAppend(t, acme.draft("secret"), acme.draft("b"), acme.draft("a"))
	if r[0].Duplicate || r[1].Duplicate || !r[2].Duplicate {
		t.Errorf("the same evidence again, two of which were erased: %+v", r)
	}
	if again := tl.mustAppend(t, acme.draft("secret"))[0]; !again.Duplicate || again.Index != r[0].Index {
		t.Errorf("and once more: %+v", again)
	}
	tl.erase(t, acme, 1, true) // what is left of it
	if got := tl.form(t, acme, 1); got != receipt.HeaderErased {
		t.Errorf("the receipt of an entry whose header was erased later is %s", got)
	}
	if again := tl.mustAppend(t, acme.draft("secret"))[0]; !again.Duplicate || again.Index != r[0].Index {
		t.Errorf("the copy is no duplicate any more: %+v", again)
	}
	tl.wantSameIndex(t, "at the end")
}

// A header that contains a digest of the payload is erased with it, whatever
// the digest's spelling.
func TestEraseHeaderThatBetraysPayload(t *testing.T) {
	tl := newTestLog(t, Config{})
	digest := func(payload string) []byte { b := sha256.Sum256([]byte(payload)); return b[:] }
	for i, c := range []struct {
		name  string
		edit  func(*entry.Header)
		wants bool
	}{
		{"nothing", func(*entry.Header) {}, false},
		{"another digest", func(h *entry.Header) { h.IdempotencyKey = fmt.Sprintf("sha256:%x", digest("other")) }, false},
		{"the idempotency key", func(h *entry.Header) { h.IdempotencyKey = fmt.Sprintf("sha256:%x", digest("payload 2")) }, true},
		{"upper case", func(h *entry.Header) { h.IdempotencyKey = fmt.Sprintf("%X", digest("payload 3")) }, true},
		{"a subject in base64", func(h *entry.Header) {
			h.Subjects = []entry.Subject{{Digest: map[string]string{"sha256": base64.StdEncoding.EncodeToString(digest("payload 4"))}}}
		}, true},
		{"an attribute in base64url", func(h *entry.Header) {
			h.Attributes = map[string]string{"x": base64.RawURLEncoding.EncodeToString(digest("payload 5"))}
		}, true},
		{"an export manifest that is its last subject", func(h *entry.Header) {
			h.Kind, h.PredicateType, h.IdempotencyKey = "export-manifest", "https://muniment.dev/predicate/export-manifest/v2", ""
			h.Subjects = []entry.Subject{{Digest: map[string]string{"sha256": fmt.Sprintf("%x", digest("file"))}}, {Digest: map[string]string{"sha256": fmt.Sprintf("%x", digest("payload 6"))}}}
		}, false},
		{"an export manifest that is its last subject and an attribute", func(h *entry.Header) {
			h.Kind, h.PredicateType, h.IdempotencyKey = "export-manifest", "https://muniment.dev/predicate/export-manifest/v2", ""
			h.Attributes = map[string]string{"x": fmt.Sprintf("%x", digest("payload 7"))}
			h.Subjects = []entry.Subject{{Digest: map[string]string{"sha256": fmt.Sprintf("%x", digest("payload 7"))}}}
		}, true},
		{"an attestation that is its last subject", func(h *entry.Header) {
			h.PredicateType = "https://muniment.dev/predicate/export-manifest/v2"
			h.Subjects = []entry.Subject{{Digest: map[string]string{"sha256": fmt.Sprintf("%x", digest("payload 8"))}}}
		}, true},
		{"an external one", func(h *entry.Header) {
			h.External = &entry.External{Digest: map[string]string{"sha256": strings.Repeat("0", 64)}, Size: 1}
		}, true},
	} {
		r := tl.mustAppend(t, acme.draft(fmt.Sprint("payload ", i), c.edit))[0]
		if e := tl.erase(t, acme, r.Index, false); e.Header != c.wants {
			t.Errorf("%s: the header was erased: %t, want %t", c.name, e.Header, c.wants)
		}
	}
	tl.wantSameIndex(t, "at the end")
}

// Evidence that waits for the same commit as the erasure of an earlier copy is
// recorded as a new entry.
func TestEraseAndSameEvidenceInOneBatch(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("secret"), acme.draft("other"))
	e, err := tl.PlanErasure(context.Background(), acme.stream, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	visible, release := tl.hooks.block(t)
	done := make(chan []Result, 2)
	send := func(drafts ...Draft) {
		t.Helper()
		n := tl.Pending()
		go func() {
			r, err := tl.Append(context.Background(), drafts)
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		for tl.Pending() == n && n >= 0 {
			select {
			case <-visible:
				n = -1 // the first is with the store
			default:
			}
		}
	}
	send(acme.draft("first"))
	d := acme.erasure(0, e.Scope())
	d.Erase = e
	// All that was looked up before the erasure is published sees the old
	// entry, which the sequencer must not; so these go without a look.
	g := newGroup(3)
	for i, draft := range []Draft{d, acme.draft("secret"), acme.draft("secret")} {
		if err := g.entries[i].prepare(tl.ids, &draft); err != nil {
			t.Fatal(err)
		}
	}
	if err := tl.queue.put(g); err != nil {
		t.Fatal(err)
	}
	release()
	<-g.done
	<-done
	if g.err != nil || g.entries[1].existing || !g.entries[2].existing || g.entries[2].index != g.entries[1].index {
		t.Fatalf("%v, %+v", g.err, g.entries)
	}
	tl.wantSameIndex(t, "afterwards")
	if r := tl.mustAppend(t, acme.draft("secret"))[0]; !r.Duplicate || r.Index != g.entries[1].index {
		t.Errorf("the same evidence again: %+v", r)
	}
}

// Openings that are recorded as erased but exist, such as after a restore, are
// erased before anything is served.
func TestRecordedErasuresAreMadeAgain(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("a"), acme.draft("b"), acme.draft("c"), globex.draft("d"), globex.draft("e"))
	tl.mustAppend(t, acme.erasure(0, ScopePayload), acme.erasure(1, ScopeHeaderAndPayload),
		// not its own, not there, its own
		acme.erasure(3, ScopeHeaderAndPayload), acme.erasure(700, ScopePayload), globex.erasure(4, ScopePayload))
	tl.restart(t)
	for i, want := range []receipt.Form{receipt.PayloadErased, receipt.HeaderErased, receipt.Detached} {
		if got := tl.form(t, acme, uint64(i)); got != want {
			t.Errorf("the receipt of entry %d is %s, want %s", i, got, want)
		}
	}
	for i, want := range []receipt.Form{receipt.Detached, receipt.PayloadErased} {
		if got := tl.form(t, globex, uint64(3+i)); got != want {
			t.Errorf("the receipt of entry %d is %s, want %s", 3+i, got, want)
		}
	}
	tl.wantSameIndex(t, "afterwards")
}

// Erased bytes leave the disk without further commands, even after a restart.
func TestErasedIsPurged(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("a"))
	tl.erase(t, acme, 0, true)
	tl.waitPurged()
	// it is not erased yet, so that the restart does it
	tl.mustAppend(t, acme.erasure(1, ScopePayload))
	tl.restart(t)
	tl.waitPurged()
}

func (tl *testLog) waitPurged() {
	for tl.Unpurged() > 0 { // which the ledger brings about, or the test times out
		runtime.Gosched()
	}
}

// spool writes a large payload and returns a draft of it.
func (tl *testLog) spool(t *testing.T, tt *testTenant, payload string) Draft {
	t.Helper()
	s, err := tl.NewSpool(context.Background(), uint64(len(payload)))
	if err != nil {
		t.Fatal(err)
	}
	for rest := []byte(payload); len(rest) > 0; rest = rest[min(len(rest), 700):] {
		if _, err := s.Write(rest[:min(len(rest), 700)]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	d := tt.draft(payload)
	salt, commitment := s.Opening()
	d.Header.Payload.Commitment = commitment
	if d.Opening.Content, err = d.Header.AppendJSON(nil); err != nil {
		t.Fatal(err)
	}
	d.Payload, d.Large = receipt.PayloadOpening{Salt: salt, Content: []byte(payload)}, s
	return d
}

// unspooled is the draft as Append takes it.
func unspooled(d Draft) Draft {
	d.Payload.Content = nil
	return d
}

func TestLargePayload(t *testing.T) {
	ctx := context.Background()
	store := openFolder(t)
	tl := newTestLogOn(t, Config{}, store)
	large := strings.Repeat("evidence ", 1000)
	add := func(d Draft) Result {
		t.Helper()
		r, err := tl.Append(ctx, []Draft{unspooled(d)})
		if err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
		tl.checkReceipt(t, r[0], &d)
		d.Large.Discard()
		return r[0]
	}
	first := tl.spool(t, acme, large)
	if r := add(first); r.Duplicate || r.Index != 0 {
		t.Fatalf("%+v", r)
	}
	read := func(index uint64) string {
		t.Helper()
		p, err := openPayload(ctx, tl.Ledger, acme.stream, index)
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		defer p.Close()
		b, err := io.ReadAll(p)
		if err != nil || uint64(len(b)) != p.Size {
			t.Fatal(len(b), p.Size, err)
		}
		return string(b)
	}
	if read(0) != large {
		t.Error("the payload reads as another")
	}
	// It is the same evidence whichever way it comes.
	if r := add(tl.spool(t, acme, large)); !r.Duplicate || r.Index != 0 {
		t.Errorf("the same large payload again: %+v", r)
	}
	if r := tl.mustAppend(t, acme.draft(large))[0]; !r.Duplicate || r.Index != 0 {
		t.Errorf("the same payload, not as a large one: %+v", r)
	}
	tl.mustAppend(t, acme.draft(large+"."))
	if r := add(tl.spool(t, acme, large+".")); !r.Duplicate || r.Index != 1 {
		t.Errorf("the same payload, as a large one: %+v", r)
	}
	if read(1) != large+"." {
		t.Error("the payload of entry 1 reads as another")
	}
	if _, err := openPayload(ctx, tl.Ledger, globex.stream, 0); err == nil {
		t.Error("another tenant opened it")
	}

	full, err := tl.Receipt(ctx, acme.stream, 0, ReceiptOptions{EmbedPayload: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Verify(full, []*receipt.TrustPolicy{tl.policy}, receipt.Options{}); err != nil {
		t.Errorf("a full receipt of a large payload: %v", err)
	}
	huge := string(bytes.Repeat([]byte{'x'}, MaxWhole+1))
	r := add(tl.spool(t, acme, huge))
	_, err = tl.Receipt(ctx, acme.stream, r.Index, ReceiptOptions{EmbedPayload: true})
	wantErr(t, "a full receipt of a huge payload", err, ErrTooLarge)
	if tl.form(t, acme, r.Index) != receipt.Detached {
		t.Error("the receipt of a huge payload is not detached")
	}

	tl.erase(t, acme, 0, false)
	if tl.form(t, acme, 0) != receipt.PayloadErased {
		t.Error("the payload is not erased")
	}
	if p, err := openPayload(ctx, tl.Ledger, acme.stream, 0); p != nil || err != nil {
		t.Errorf("the erased payload: %v, %v", p, err)
	}
	if r := add(tl.spool(t, acme, large)); r.Duplicate {
		t.Errorf("the erased payload again: %+v", r)
	}
	report, err := Reindex(ctx, store, openFolder(t), testOrigin, testDerive, false, nil)
	if err != nil || !report.Same() {
		t.Errorf("reindex: %+v, %v", report, err)
	}
}

// A large payload that is not recorded leaves no file, and is refused if it
// would use the disk's reserve.
func TestLargePayloadRefused(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{ReserveBytes: 1000})
	free := uint64(5000)
	tl.store.Free = func() (uint64, error) { return free, nil }
	_, err := tl.NewSpool(ctx, 4001)
	wantErr(t, "more than fits", err, ErrDiskFull)
	s, err := tl.NewSpool(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Write(make([]byte, 4001))
	wantErr(t, "to go on when there is no room", err, ErrDiskFull)
	s.Discard()
	if err := s.Finish(); err == nil {
		if _, err := s.Open(); err == nil {
			t.Error("a discarded payload can be read")
		}
	}
	// The caller disconnects while it waits. The payload is either in the
	// commit or lost.
	free = 1 << 30
	d := unspooled(tl.spool(t, acme, "large"))
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	r, err := tl.Append(cancelled, []Draft{d})
	if err != nil {
		t.Fatal(err)
	}
	d.Large.Discard()
	p, err := readPayload(ctx, tl.Ledger, acme.stream, r[0].Index)
	if err != nil || string(p.Content) != "large" {
		t.Errorf("the payload: %v, %v", p, err)
	}
}
