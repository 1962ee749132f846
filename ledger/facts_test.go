package ledger

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// testDerive derives the facts of all evidence of the tests: its media type and
// its payload in capitals.
func testDerive(ctx context.Context, h *entry.Header, payload func() ([]byte, error)) ([]byte, error) {
	if h.Kind != "attestation" {
		return nil, nil
	}
	p, err := payload()
	return append([]byte(h.MediaType+" "), bytes.ToUpper(p)...), err
}

// checkFacts checks that the ledger returns the facts of an entry, or none if
// its payload is erased.
func checkFacts(t testing.TB, l *Ledger, tt *testTenant, index uint64) {
	t.Helper()
	ctx := context.Background()
	e, err := l.Entry(ctx, tt.stream, index)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Facts(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	if p, err := l.Payload(ctx, e); err != nil {
		t.Fatal(err)
	} else if p != nil {
		if want, err = testDerive(ctx, e.Header, func() ([]byte, error) { return p.Content, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
		t.Errorf("the facts of entry %d are %q, want %q", index, got, want)
	}
}

// Facts that are missing, wrong or of another entry are found by reading them,
// by the check and by reindex, which writes them again.
func TestFactsDamaged(t *testing.T) {
	ctx := context.Background()
	for name, damage := range map[string]func(map[uint64][]byte){
		"missing":    func(f map[uint64][]byte) { delete(f, 1) },
		"changed":    func(f map[uint64][]byte) { f[1] = append(bytes.Clone(f[1]), '!') },
		"exchanged":  func(f map[uint64][]byte) { f[0], f[1] = f[1], f[0] },
		"short":      func(f map[uint64][]byte) { f[1] = []byte("x") },
		"of nothing": func(f map[uint64][]byte) { f[2] = f[1] },
	} {
		tl := newTestLog(t, Config{})
		tl.mustAppend(t, acme.draft("a"), acme.draft("b"), acme.event("1", "no facts"))
		facts := map[uint64][]byte{}
		var others []store.Projection
		for p, err := range tl.store.Projections(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if p.Facts != nil {
				facts[p.Facts.Index] = p.Facts.Facts
			} else {
				others = append(others, p)
			}
		}
		damage(facts)
		for i, f := range facts {
			others = append(others, store.Projection{Facts: &store.FactsAt{Index: i, Facts: f}})
		}
		heads, err := tl.store.StreamHeads(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := tl.store.ReplaceProjections(ctx, func(yield func(store.Projection, error) bool) {
			for _, p := range others {
				if !yield(p, nil) {
					return
				}
			}
		}, heads); err != nil {
			t.Fatal(err)
		}
		if e, err := tl.Entry(ctx, acme.stream, 1); err != nil {
			t.Fatal(err)
		} else if got, err := tl.Facts(ctx, e); name == "missing" && (got != nil || err != nil) || name != "missing" && name != "of nothing" && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Facts returned %q, %v", name, got, err)
		}
		st, err := tl.store.Follow(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		var found []Finding
		if _, err := CheckStore(ctx, StoreCheck{Store: tl.store, State: st, Origin: testOrigin, Derive: testDerive,
			Verify: func([]byte, bool) error { return nil }, Report: func(f Finding) { found = append(found, f) }}); err != nil {
			t.Fatal(err)
		}
		if list := findings(found); !strings.Contains(list, "facts are ") {
			t.Errorf("%s: the check found %s", name, list)
		}
		tl.Close()
		if r, err := Reindex(ctx, tl.store, memstore.New(), testOrigin, testDerive, true, nil); err != nil || r.Same() || !r.Written || r.Facts != 2 {
			t.Errorf("%s: reindex: %+v, %v", name, r, err)
		}
		if r, err := Reindex(ctx, tl.store, memstore.New(), testOrigin, testDerive, false, nil); err != nil || !r.Same() {
			t.Errorf("%s: after reindex: %+v, %v", name, r, err)
		}
		tl.open(t, tl.store.Restart())
		for i := range uint64(3) {
			checkFacts(t, tl.Ledger, acme, i)
		}
	}
}

// An erasure deletes the facts in its own commit.
func TestEraseFacts(t *testing.T) {
	ctx := context.Background()
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("a"), acme.draft("b"))
	before, err := tl.Entry(ctx, acme.stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	tl.erase(t, acme, 0, false)
	if got, err := tl.Facts(ctx, before); got != nil || err != nil {
		t.Errorf("the facts of an erased payload are %q, %v", got, err)
	}
	tl.restart(t)
	checkFacts(t, tl.Ledger, acme, 0)
	checkFacts(t, tl.Ledger, acme, 1)
	tl.wantSameIndex(t, "after the erasure")

	// A commit that is lost with the erasure keeps both payload and facts.
	lost := errors.New("lost")
	tl.stopBackground() // it syncs what is visible
	<-tl.purged
	tl.hooks.fail(nil, lost)
	e, err := tl.PlanErasure(ctx, acme.stream, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	d := acme.erasure(1, ScopePayload)
	d.Erase = e
	if _, err := tl.Append(ctx, []Draft{d}); err == nil {
		t.Fatal("a failed commit was acknowledged")
	}
	tl.hooks.fail(nil, nil)
	tl.restart(t)
	checkFacts(t, tl.Ledger, acme, 1)
	if e, err := tl.Entry(ctx, acme.stream, 1); err != nil {
		t.Fatal(err)
	} else if facts, err := tl.Facts(ctx, e); len(facts) == 0 || err != nil {
		t.Errorf("the facts are %q, %v", facts, err)
	}
}
