package retention

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store/memstore"
)

// relianceFunc is a Reliance.
type relianceFunc func() string

func (f relianceFunc) ReliedUpon(context.Context, *ledger.Stream, *ledger.Entry) (string, error) {
	return f(), nil
}

// A hold that is placed after an erasure was decided, and before it is
// recorded, is obeyed: the erasure is decided again. Reliance is asked in
// between, so the test places the hold there.
func TestHoldComesBetween(t *testing.T) {
	ctx := context.Background()
	skey, _, err := note.GenerateKey(nil, "retention.test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Store: memstore.New(), Signer: signer, Fatal: func(err error) { t.Error(err) }, Governs: ingest.Governs})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := &ingest.Ingester{Ledger: l, MaxPayload: 1 << 20}
	if in.Admission, err = ingest.NewAdmission(ingest.AdmissionConfig{Ledger: l}); err != nil {
		t.Fatal(err)
	}
	who := ingest.Submitter{Tenant: "acme", Identity: "token:acme", Stream: ledger.NewStream(entry.StreamKey{1})}
	k := &Keeper{Ingester: in, Now: func() time.Time { return time.Now().AddDate(0, 0, 30) }}
	results, err := in.Append(ctx, who, []ingest.Submission{{Kind: "attestation", MediaType: "text/plain", Payload: []byte("needed in court")}})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	if _, err := k.SetRules(ctx, who, []Rule{{Kind: "attestation", Days: 1, Scope: ledger.ScopePayload}}, "as agreed"); err != nil {
		t.Fatal(err)
	}
	asked := 0
	k.Reliance = relianceFunc(func() string {
		if asked++; asked == 1 {
			if _, err := k.Place(ctx, who, "court", nil, "case 7"); err != nil {
				t.Error(err)
			}
		}
		return ""
	})
	var kept []string
	if err := k.Apply(ctx, who, false, func(o *Outcome) error { kept = append(kept, o.Kept); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 1 || kept[0] == "" || asked == 0 {
		t.Errorf("the outcomes are %q", kept)
	}
	e, err := l.Entry(ctx, who.Stream, results[0].Index)
	if err != nil {
		t.Fatal(err)
	}
	if erased, err := l.PayloadErased(ctx, e); err != nil || erased {
		t.Errorf("what is held was erased: %t, %v", erased, err)
	}
	if _, _, err := k.Erase(ctx, who, results[0].Index, false, "again"); !errors.Is(err, ErrHeld) {
		t.Errorf("an erasure of what is held: %v", err)
	}
}
