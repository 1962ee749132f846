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

// newKeeper returns a keeper in 30 days' time, whose log has evidence that a
// rule erases after a day, and the index of that evidence.
func newKeeper(t *testing.T) (*Keeper, ingest.Submitter, uint64) {
	t.Helper()
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
	t.Cleanup(l.Close)
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
	setDays(t, k, who, 1)
	return k, who, results[0].Index
}

// setDays sets the retention period of attestations.
func setDays(t *testing.T, k *Keeper, who ingest.Submitter, days uint32) {
	t.Helper()
	if _, err := k.SetRules(context.Background(), who, []Rule{{Kind: "attestation", Days: days, Scope: ledger.ScopePayload}}, "as agreed"); err != nil {
		t.Fatal(err)
	}
}

func wantKept(t *testing.T, k *Keeper, who ingest.Submitter, index uint64) {
	t.Helper()
	l := k.Ingester.Ledger
	e, err := l.Entry(context.Background(), who.Stream, index)
	if err != nil {
		t.Fatal(err)
	}
	if erased, err := l.PayloadErased(context.Background(), e); err != nil || erased {
		t.Errorf("entry %d is erased: %t, error %v", index, erased, err)
	}
}

// Rules that are replaced before an erasure by them is recorded no longer erase
// anything. Reliance is queried in between, so the test replaces them there.
func TestRulesComeBetween(t *testing.T) {
	k, who, index := newKeeper(t)
	asked := 0
	k.Reliance = relianceFunc(func() string {
		if asked++; asked == 1 {
			setDays(t, k, who, 1000)
		}
		return ""
	})
	reported := 0
	report := func(*Outcome) error { reported++; return nil }
	if err := k.Apply(context.Background(), who, false, report); !errors.Is(err, ErrRulesChanged) || reported != 0 {
		t.Errorf("rules that were replaced: error %v, %d outcomes", err, reported)
	}
	wantKept(t, k, who, index)
	if err := k.Apply(context.Background(), who, false, report); err != nil || reported != 0 {
		t.Errorf("rules of 1000 days: error %v, %d outcomes", err, reported)
	}
	wantKept(t, k, who, index)
}

// A hold that is placed between the decision on an erasure and its entry
// protects the entry: the erasure is decided again. Reliance is queried in
// between, so the test places the hold there.
func TestHoldComesBetween(t *testing.T) {
	ctx := context.Background()
	k, who, index := newKeeper(t)
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
	wantKept(t, k, who, index)
	if _, _, err := k.Erase(ctx, who, index, false, "again"); !errors.Is(err, ErrHeld) {
		t.Errorf("an erasure of what is held: %v", err)
	}
}
