package retention

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store/memstore"
)

// An erased exception relies on nothing: what was in memory of it is forgotten,
// as if the server had been started again.
func TestErasedException(t *testing.T) {
	ctx := context.Background()
	skey, _, err := note.GenerateKey(nil, "ledger.test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, ledger.Config{Store: memstore.New(), Signer: signer, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	in := &ingest.Ingester{Ledger: l, MaxPayload: 1 << 20}
	who := ingest.Submitter{Tenant: "acme", Identity: "token:acme", Stream: ledger.NewStream(entry.StreamKey{1})}
	digest := `{"sha256":"` + strings.Repeat("e", 64) + `"}`
	results, err := in.Append(ctx, who, []ingest.Submission{
		{Kind: "exception", IdempotencyKey: "1", Payload: []byte(`{"id":"EXC-SECRET","control":"C","scope":{"subjects":[{"digest":` + digest + `}]},"reason":"r","requester":"a","approver":"b","expires":"2099-01-01T00:00:00Z"}`)},
		{Kind: "finding", IdempotencyKey: "2", Payload: []byte(`{"id":"F","title":"t","severity":"low","status":"open","source":"s","detected":"2026-01-01T00:00:00Z","subjects":[{"digest":` + digest + `}]}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	finding, err := l.Entry(ctx, who.Stream, results[1].Index)
	if err != nil {
		t.Fatal(err)
	}
	{
		x := &Exceptions{Ledger: l, Now: time.Now}
		if why, err := x.ReliedUpon(ctx, who.Stream, finding); err != nil || !strings.Contains(why, "EXC-SECRET") {
			t.Fatalf("before: %q, %v", why, err)
		}
		k := &Keeper{Ingester: in, Now: time.Now}
		if _, r, err := k.Erase(ctx, who, results[0].Index, true, "asked for"); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
		if why, err := x.ReliedUpon(ctx, who.Stream, finding); err != nil || why != "" {
			t.Errorf("after: %q, %v", why, err)
		}
		if all := x.streams[who.Stream.ID].all; len(all) != 0 {
			t.Errorf("in memory: %+v", all)
		}
		again := &Exceptions{Ledger: l, Now: time.Now}
		if why, err := again.ReliedUpon(ctx, who.Stream, finding); err != nil || why != "" {
			t.Errorf("after a restart: %q, %v", why, err)
		}
	}
}
