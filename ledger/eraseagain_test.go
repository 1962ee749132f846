package ledger

import (
	"bytes"
	"context"
	"testing"

	"muniment.dev/muniment/ledger/entry"
)

// Two erasures of one entry may be planned before either is recorded. The
// second must not forget a copy that was appended in between.
func TestEraseTwice(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("secret"))
	var erasures [2]struct {
		plan  *Erasure
		draft Draft
	}
	for i := range erasures {
		var err error
		if erasures[i].plan, err = tl.PlanErasure(context.Background(), acme.stream, 0, i == 1); err != nil {
			t.Fatal(err)
		}
	}
	for i := range erasures {
		erasures[i].draft = acme.erasure(0, erasures[i].plan.Scope())
		erasures[i].draft.Erase = erasures[i].plan
	}
	tl.mustAppend(t, erasures[0].draft)
	visible, release := tl.hooks.block(t)
	answers := []<-chan answer{tl.appendLater(acme.draft("blocker"))}
	<-visible
	for i, d := range []Draft{acme.draft("secret"), erasures[1].draft, acme.draft("secret")} {
		answers = append(answers, tl.appendLater(d))
		tl.awaitPending(t, i+1)
	}
	release()
	var results []Result
	for _, c := range answers {
		a := <-c
		if a.err != nil || a.results[0].Err != nil {
			t.Fatal(a.err, a.results)
		}
		results = append(results, a.results[0])
	}
	if copied, again := results[1], results[3]; copied.Duplicate || !again.Duplicate || again.Index != copied.Index {
		t.Errorf("two copies of an erased entry: %d %t, %d %t", copied.Index, copied.Duplicate, again.Index, again.Duplicate)
	}
	tl.wantSameIndex(t, "after two erasures of one entry")
}

// An identifier is kept for the life of the ledger. It must retain nothing of
// the submissions whose keys it computed, because they may be erased.
func TestIdentifierKeepsNothing(t *testing.T) {
	ids := newIdentifier(&[32]byte{1})
	m := ids.macs.New().(*keyedMAC)
	h := &entry.Header{Tenant: "acme", Submitter: "ci", Kind: "attestation", MediaType: "text/plain", IdempotencyKey: "order 66"}
	for range 2 {
		if m.begin(entry.Hash{2}, h, 6) {
			m.Write([]byte("secret"))
		}
		m.key()
		if kept := m.scratch[:cap(m.scratch)]; !bytes.Equal(kept, make([]byte, len(kept))) {
			t.Errorf("it keeps %q", kept)
		}
		if got, want := m.Sum(nil), ids.macs.New().(*keyedMAC).Sum(nil); !bytes.Equal(got, want) {
			t.Error("its hash still holds the submission")
		}
		h.IdempotencyKey = ""
	}
}
