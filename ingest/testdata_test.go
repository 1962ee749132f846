package ingest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// sigstoreGo returns the folder of the module sigstore-go, which contains real
// bundles.
var sigstoreGo = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	return strings.TrimSpace(string(out)), err
})

// realEvidence reads a file of sigstore-go.
func realEvidence(t testing.TB, path string) []byte {
	t.Helper()
	dir, err := sigstoreGo()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	bundles    = "pkg/testing/data/bundles/"
	provenance = "examples/bundle-provenance.json"
	statement  = "examples/statement-provenance-sigstorejs1.3.0.json"
)

// envelope returns a DSSE envelope of the payload with made-up signatures.
func envelope(payloadType string, payload []byte, keyIDs ...string) string {
	type signature struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	}
	e := struct {
		PayloadType string      `json:"payloadType"`
		Payload     string      `json:"payload"`
		Signatures  []signature `json:"signatures"`
	}{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload)}
	for _, id := range keyIDs {
		e.Signatures = append(e.Signatures, signature{id, "c2ln"})
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// newIngester returns an ingester for a new log, and the trust policy for its
// receipts.
func newIngester(t *testing.T) (*Ingester, Submitter, *receipt.TrustPolicy) {
	t.Helper()
	return newIngesterOn(t, memstore.New())
}

// newIngesterOn is newIngester for a log in a store.
func newIngesterOn(t *testing.T, s *memstore.Store) (*Ingester, Submitter, *receipt.TrustPolicy) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, "ledger.test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := receipt.ParseTrustPolicy("test", []byte(receipt.FormatTrustPolicy(vkey)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(context.Background(), ledger.Config{Store: s, Signer: signer, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return &Ingester{Ledger: l, MaxPayload: 1 << 20}, Submitter{Tenant: "acme", Identity: "token:acme", Stream: ledger.NewStream(entry.StreamKey{1})}, policy
}

// wantField fails the test unless err names the field and contains the texts.
func wantField(t *testing.T, what string, err error, field string, wantErr ...string) {
	t.Helper()
	var fe *FieldError
	if !errors.As(err, &fe) || fe.Field != Field(field) {
		t.Errorf("%s: got error %v, want one about %s", what, err, field)
		return
	}
	for _, s := range wantErr {
		if !strings.Contains(fe.Message(), s) {
			t.Errorf("%s: the message %q does not contain %q", what, fe.Message(), s)
		}
	}
}
