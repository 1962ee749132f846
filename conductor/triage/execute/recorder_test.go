package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestRecorder runs an incident with a real ledger, which accepts each entry
// once.
func TestRecorder(t *testing.T) {
	server := ledgerrig.Start()
	t.Cleanup(server.Close)
	policy, err := receipt.ParseTrustPolicy("ledger.policy", server.Policy)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(muniment.Options{Server: server.URL, Token: server.Token, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	w := calm(t)
	w.exec.Ledger = r
	w.advance(id, Settling)
	w.must(w.exec.Clear(id))
	i := w.advance(id, Closed)
	if len(i.Steps) != 4 || !i.recorded() {
		t.Fatalf("steps: %+v", i.Steps)
	}

	found, err := r.client.ListEntries(t.Context(), connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: r.client.Tenant, Filter: &munimentv1.Filter{Kind: kindname.TriageAction, Attribute: "incident=" + id}}))
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for _, e := range slices.Backward(found.Msg.Entries) {
		var header struct{ Attributes map[string]string }
		if err := json.Unmarshal(e.Header, &header); err != nil {
			t.Fatal(err)
		}
		phases = append(phases, header.Attributes["action"]+" "+header.Attributes["step"]+" "+header.Attributes["phase"])
	}
	if got, want := fmt.Sprint(phases), "[careful 1 intent careful 1 outcome urgent 2 intent urgent 2 outcome restore 3 intent restore 3 outcome restore 4 intent restore 4 outcome close  ]"; got != want {
		t.Errorf("entries %s, want %s", got, want)
	}

	first := i.Steps[0].Intent
	key := "triage/" + id + "/1/intent"
	if at, err := r.Record(context.Background(), key, first.Payload); err != nil || at != *first.Recorded {
		t.Errorf("the same entry again: %v, %v, want %v", at, err, first.Recorded)
	}
	if _, err := r.Record(context.Background(), key, i.Steps[1].Intent.Payload); !errors.Is(err, ErrTaken) {
		t.Errorf("another entry with its key: %v, want ErrTaken", err)
	}
	if _, err := r.Record(context.Background(), key+"x", []byte("{}")); err == nil || errors.Is(err, ErrTaken) {
		t.Errorf("an entry that the ledger refuses: %v", err)
	}
	if _, err := NewRecorder(muniment.Options{Server: server.URL}); err == nil {
		t.Error("a recorder without a trust policy")
	}
}
