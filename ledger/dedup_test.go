package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

func TestSameEvidence(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, globex.draft("something else"))
	first := tl.mustAppend(t, acme.draft("evidence"))[0]
	if first.Duplicate {
		t.Fatal("the first is a duplicate")
	}
	wantDuplicate := func(when string) {
		t.Helper()
		if r := tl.mustAppend(t, acme.draft("evidence"))[0]; !r.Duplicate || r.Index != first.Index {
			t.Fatalf("%s: %+v", when, r)
		}
	}
	wantDuplicate("at once")
	tl.fill(t, "other", 300)
	wantDuplicate("after other entries")
	tl.restart(t)
	wantDuplicate("after a restart")
	before := tl.Published().Size
	r := tl.mustAppend(t, acme.draft("evidence"), acme.draft("new"), acme.draft("evidence"), acme.draft("new"))
	if !r[0].Duplicate || r[1].Duplicate || !r[2].Duplicate || !r[3].Duplicate || r[3].Index != r[1].Index || tl.Published().Size != before+1 {
		t.Fatalf("old and new in one call: %+v, size %d", r, tl.Published().Size)
	}
	checkLogSample(t, tl, 50, acme, globex)
}

// Each part that identifies evidence makes it different evidence when it
// changes.
func TestOtherEvidence(t *testing.T) {
	tl := newTestLog(t, Config{})
	evidence := func(edits ...func(*entry.Header)) Draft { return acme.draft("evidence", edits...) }
	drafts := []Draft{
		evidence(),
		acme.draft("evidence "),
		acme.draft(""),
		globex.draft("evidence"),
		evidence(func(h *entry.Header) { h.Submitter = "token:other" }),
		evidence(func(h *entry.Header) { h.Kind = "inventory" }),
		evidence(func(h *entry.Header) { h.MediaType = "text/html" }),
		evidence(func(h *entry.Header) { h.AdmissionPolicy = testSubject }),
		// The parts are framed: moving a byte from one to the next makes
		// another submission.
		evidence(func(h *entry.Header) { h.Kind, h.MediaType = "attestationt", "ext/plain" }),
		evidence(func(h *entry.Header) { h.IdempotencyKey = "evidence" }),
	}
	for round, duplicate := range []bool{false, true} {
		for i, r := range tl.mustAppend(t, drafts...) {
			if r.Duplicate != duplicate || r.Index != uint64(i) {
				t.Errorf("round %d: draft %d is entry %d, duplicate %t", round, i, r.Index, r.Duplicate)
			}
		}
	}
	// Facts extracted from the payload do not affect deduplication.
	if r := tl.mustAppend(t, evidence(provenance)); !r[0].Duplicate || r[0].Index != 0 {
		t.Errorf("evidence of which more was read: %+v", r[0])
	}
	checkLog(t, tl, acme, globex)
}

// Concurrent copies, in one batch or in many, make one entry, and all callers
// get a receipt of it.
func TestRacingCopies(t *testing.T) {
	for name, cfg := range map[string]Config{"large batches": {}, "batches of one": {MaxBatchEntries: 1}} {
		t.Run(name, func(t *testing.T) {
			tl := newTestLog(t, cfg)
			visible, release := tl.hooks.block(t)
			blocker := tl.appendLater(acme.draft("blocker"))
			<-visible
			const copies = 100
			d := acme.draft("evidence")
			var answers []<-chan answer
			for i := range copies {
				answers = append(answers, tl.appendLater(acme.draft("evidence")))
				if i%10 == 0 {
					answers = append(answers, tl.appendLater(acme.draft(fmt.Sprint("other ", i))))
				}
			}
			tl.awaitPending(t, copies+copies/10)
			release()
			if a := <-blocker; a.err != nil {
				t.Fatal(a.err)
			}
			fresh := map[uint64]int{}
			for _, c := range answers {
				a := <-c
				if a.err != nil {
					t.Fatal(a.err)
				}
				r := a.results[0]
				s, err := receipt.Verify(r.Receipt, []*receipt.TrustPolicy{tl.policy}, receipt.Options{HeaderOnly: true, StreamKey: &acme.stream.Key})
				if err != nil || s.Index != r.Index {
					t.Fatalf("receipt of entry %d: %v", r.Index, err)
				}
				if !r.Duplicate {
					fresh[r.Index]++
				} else {
					tl.checkReceipt(t, r, &d)
				}
			}
			if len(fresh) != 1+copies/10 || tl.Published().Size != 2+copies/10 {
				t.Fatalf("%d entries are new, the log has %d", len(fresh), tl.Published().Size)
			}
			checkLog(t, tl, acme)
		})
	}
}

// Copies come one after another, without the queue to gather them.
func TestConcurrentCopies(t *testing.T) {
	tl := newTestLog(t, Config{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				r, err := tl.Append(context.Background(), []Draft{acme.draft(fmt.Sprint("evidence ", i))})
				if err != nil || r[0].Err != nil {
					t.Errorf("evidence %d: %v %v", i, err, r)
					return
				}
			}
		})
	}
	wg.Wait()
	if tl.Published().Size != 50 {
		t.Errorf("the log has %d entries, not 50", tl.Published().Size)
	}
	checkLog(t, tl, acme)
}

func TestIdempotencyKey(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("something else"))
	first := tl.mustAppend(t, acme.event("key", "50%"))[0]
	reused := func(when string, d Draft) {
		t.Helper()
		r, err := tl.Append(context.Background(), []Draft{d})
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, when, r[0].Err, ErrKeyReused, fmt.Sprintf("entry %d", first.Index))
		if r[0].Receipt != nil {
			t.Fatalf("%s: there is a receipt, too", when)
		}
	}
	check := func(when string) {
		t.Helper()
		size := tl.Published().Size
		if r := tl.mustAppend(t, acme.event("key", "50%"))[0]; !r.Duplicate || r.Index != first.Index {
			t.Fatalf("%s, same request: %+v", when, r)
		}
		reused(when+", other payload", acme.event("key", "60%"))
		reused(when+", other kind", acme.draft("50%", func(h *entry.Header) { h.Kind, h.IdempotencyKey = "metric-snapshot", "key" }))
		reused(when+", other media type", acme.draft("50%", func(h *entry.Header) {
			h.Kind, h.IdempotencyKey, h.MediaType = "backfill-checkpoint", "key", "application/json"
		}))
		// The policy belongs to the log, not to the client: a retry after a
		// change of the policy is still a retry.
		if r := tl.mustAppend(t, acme.draft("50%", func(h *entry.Header) {
			h.Kind, h.IdempotencyKey, h.AdmissionPolicy = "backfill-checkpoint", "key", testSubject
		}))[0]; !r.Duplicate {
			t.Fatalf("%s, other admission policy: %+v", when, r)
		}
		if tl.Published().Size != size {
			t.Fatalf("%s: the log grew from %d to %d", when, size, tl.Published().Size)
		}
	}
	check("at once")
	tl.restart(t)
	check("after a restart")

	r, err := tl.Append(context.Background(), []Draft{
		acme.event("new key", "1%"), acme.event("new key", "1%"), acme.event("new key", "2%"), acme.event("key", "60%"), globex.event("key", "60%"), acme.event("other key", "50%"),
	})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "another request in the same call", r[2].Err, ErrKeyReused, fmt.Sprintf("entry %d", r[0].Index))
	wantErr(t, "another request, recorded before", r[3].Err, ErrKeyReused, fmt.Sprintf("entry %d", first.Index))
	if r[0].Duplicate || !r[1].Duplicate || r[1].Index != r[0].Index {
		t.Errorf("the same request twice in one call: %+v, %+v", r[0], r[1])
	}
	if r[4].Err != nil || r[4].Duplicate || r[5].Err != nil || r[5].Duplicate {
		t.Errorf("another tenant: %+v, another key: %+v", r[4], r[5])
	}
	checkLog(t, tl, acme, globex)
}

// Two requests with one key that meet in one batch: the first to be sequenced
// is recorded, the other is refused.
func TestRacingKeys(t *testing.T) {
	tl := newTestLog(t, Config{})
	visible, release := tl.hooks.block(t)
	blocker := tl.appendLater(acme.draft("blocker"))
	<-visible
	var answers []<-chan answer
	for i := range 20 {
		answers = append(answers, tl.appendLater(acme.event("key", fmt.Sprint(i, "%"))))
	}
	tl.awaitPending(t, 20)
	release()
	<-blocker
	recorded, refused := 0, 0
	for _, c := range answers {
		a := <-c
		switch {
		case a.err != nil:
			t.Fatal(a.err)
		case a.results[0].Err == nil:
			recorded++
		default:
			wantErr(t, "a request that came later", a.results[0].Err, ErrKeyReused, "entry 1")
			refused++
		}
	}
	if recorded != 1 || refused != 19 {
		t.Errorf("%d were recorded, %d refused", recorded, refused)
	}
	checkLog(t, tl, acme)
}

// An entry whose caller disconnects while it waits is not recorded and frees
// its place in the queue. A retry is harmless.
func TestCancelledAppend(t *testing.T) {
	tl := newTestLog(t, Config{})
	visible, release := tl.hooks.block(t)
	blocker := tl.appendLater(acme.draft("blocker"))
	<-visible
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() {
		_, err := tl.Append(ctx, []Draft{acme.draft("evidence")})
		got <- err
	}()
	tl.awaitPending(t, 1)
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v", err)
	}
	tl.awaitPending(t, 0)
	release()
	<-blocker
	tl.mustAppend(t, acme.draft("evidence"))
	if n := tl.Published().Size; n != 2 {
		t.Fatalf("the log has %d entries, not 2", n)
	}
	wantErr(t, "what the observer was told", tl.refusals()[0], context.Canceled)
	checkLog(t, tl, acme)
}

// An entry whose caller disconnects during the commit is recorded, and its
// result is delivered.
func TestCancelledInCommit(t *testing.T) {
	counted := make(chan int, 8)
	tl := newTestLog(t, Config{Observe: Observer{Recorded: func(_ entry.Hash, entries int, _ int64) { counted <- entries }}})
	visible, release := tl.hooks.block(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := make(chan answer, 1)
	go func() {
		results, err := tl.Append(ctx, []Draft{acme.draft("evidence")})
		got <- answer{results, err}
	}()
	<-visible
	cancel()
	release()
	if a := <-got; a.err != nil || a.results[0].Err != nil || len(a.results[0].Receipt) == 0 {
		t.Fatalf("got %+v", a)
	}
	if n := <-counted; n != 1 {
		t.Errorf("%d entries were counted", n)
	}
	checkLog(t, tl, acme)
}

func TestAppendNothing(t *testing.T) {
	tl := newTestLog(t, Config{})
	if r, err := tl.Append(context.Background(), nil); err != nil || len(r) != 0 {
		t.Fatalf("got %v, %v", r, err)
	}
	checkLog(t, tl)
}

// blindStore can't read its deduplication keys.
type blindStore struct{ *memstore.Store }

func (blindStore) Lookup(context.Context, store.Key) (uint64, error) { return 0, store.ErrDamaged }

// A damaged deduplication row refuses the call that meets it in the sequencer,
// as it does in the caller, and does not end the log.
func TestUnreadableKeyRefusesOneGroup(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("recorded"))
	tl.Close() // so that the test has the tip to itself
	tl.Ledger.store = blindStore{tl.store}
	tl.keys.followed.Add(1)
	tl.tip.recent.init(1)
	b := tl.newBatch()
	old, late := newGroup(1), newGroup(2)
	for i, g := range []*group{old, late} {
		for j := range g.entries {
			d := acme.draft(fmt.Sprint("new ", i, j))
			if err := g.entries[j].prepare(tl.ids, &d); err != nil {
				t.Fatal(err)
			}
		}
	}
	old.entries[0].checked = 1
	tl.placeGroup(b, late, 1)
	tl.placeGroup(b, old, 1)
	wantErr(t, "a group that must be looked up", late.refused, ErrDamaged)
	if old.refused != nil || b.commit.Len() != 1 || b.err != nil {
		t.Errorf("another group: %v, %d entries, %v", old.refused, b.commit.Len(), b.err)
	}
}
