package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/cose"
)

func scittServer(t *testing.T) (*testServer, *ecdsa.PublicKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cosereceipt.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return newServer(t, func(_ *ledger.Config, c *api.Config) { c.SCITTKey = key }), &private.PublicKey
}

func statement(t *testing.T, payload string) []byte {
	t.Helper()
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	data, err := cose.Sign(key, cose.Draft{Issuer: "acme.example", Subject: "pkg:oci/app", Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (ts *testServer) register(token, contentType string, body []byte) httpAnswer {
	ts.t.Helper()
	return ts.do(ts.h1, "POST", "/entries", token, map[string]string{"Content-Type": contentType}, bytes.NewReader(body))
}

// A receipt is decoded with a CBOR library, and verified with go-cose by the
// published rules only.
func TestReceiptByTheStandardsAlone(t *testing.T) {
	ts, public := scittServer(t)
	ts.append("globex", "one before")
	st := statement(t, "the statement")
	a := ts.register(acmeToken, "application/cose", st)
	if a.status != 201 || a.header.Get("Content-Type") != "application/cose" || a.header.Get("Location") != "/entries/1" {
		t.Fatalf("status %d, %v: %q", a.status, a.header, a.body)
	}
	var m gocose.Sign1Message
	if err := m.UnmarshalCBOR([]byte(a.body)); err != nil {
		t.Fatal(err)
	}
	var proof struct {
		_           struct{} `cbor:",toarray"`
		Size, Index uint64
		Path        [][]byte
	}
	vdp := m.Headers.Unprotected[int64(396)].(map[any]any)
	if err := cbor.Unmarshal(vdp[int64(-1)].([]any)[0].([]byte), &proof); err != nil {
		t.Fatal(err)
	}
	var open []any
	if err := cbor.Unmarshal(m.Headers.Unprotected["muniment-opening"].([]byte), &open); err != nil {
		t.Fatal(err)
	}
	hash := func(i int) entry.Hash { return entry.Hash(open[i].([]byte)) }
	leaf := entry.LeafData(hash(0), entry.EntryHash(entry.HashOrigin(ts.ledger.Origin()), hash(2), open[1].(uint64), entry.HeaderHash(entry.Salt(hash(3)), open[4].([]byte))))
	h, err := entry.ParseHeader(open[4].([]byte))
	if err != nil {
		t.Fatal(err)
	}
	if h.Payload.Commitment != entry.Commitment(entry.Salt(hash(5)), st) {
		t.Error("the commitment is not that of the statement as it was sent")
	}
	if h.Attributes["issuer"] != "acme.example" || h.Attributes["subject"] != "pkg:oci/app" {
		t.Errorf("the header says %v", h.Attributes)
	}
	if proof.Size != 2 || proof.Index != 1 || len(proof.Path) != 1 {
		t.Fatalf("the proof is of entry %d in a tree of %d, with %d hashes", proof.Index, proof.Size, len(proof.Path))
	}
	own := entry.LeafHash(leaf[:])
	root := sha256.Sum256(append(append([]byte{1}, proof.Path[0]...), own[:]...))
	if root != ts.ledger.Published().Root {
		t.Error("the path does not lead to the published root")
	}
	m.Payload = root[:]
	v, err := gocose.NewVerifier(gocose.AlgorithmES256, public)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(nil, v); err != nil {
		t.Errorf("go-cose: %v", err)
	}
	if _, err := cosereceipt.Verify(st, "pkg:oci/app", []byte(a.body), []*ecdsa.PublicKey{public}); err != nil {
		t.Error(err)
	}
}

func TestSCITTEndpoint(t *testing.T) {
	ts, public := scittServer(t)
	keys := []*ecdsa.PublicKey{public}
	st := statement(t, "one")
	first := ts.register(acmeToken, "application/cose", st)
	if first.status != 201 {
		t.Fatalf("status %d: %q", first.status, first.body)
	}
	again := ts.register(acmeToken, `application/cose; cose-type="cose-sign1"`, st)
	if again.status != 200 || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("again: status %d at %q, want 200 at %q", again.status, again.header.Get("Location"), first.header.Get("Location"))
	}
	ts.append("acme", "not a statement")
	later := ts.do(ts.h1, "GET", "/entries/0", acmeToken, nil, nil)
	s, err := cosereceipt.Verify(st, "pkg:oci/app", []byte(later.body), keys)
	if err != nil || s.Size != 2 {
		t.Errorf("the later receipt: %+v, %v", s, err)
	}
	set := ts.get("/.well-known/scitt-keys")
	if parsed, err := cosereceipt.ParseKeySet([]byte(set.body)); err != nil || len(parsed) != 1 || !parsed[0].Equal(public) {
		t.Errorf("the key set: status %d, %v", set.status, err)
	}
	garbled := bytes.Clone(st)
	garbled[0] = 0xd3
	defer ts.unchanged()()
	for what, c := range map[string]struct {
		a      httpAnswer
		status int
		says   string
	}{
		"no token":                 {ts.register("", "application/cose", st), 401, "no token"},
		"a wrong token":            {ts.register("mnt_acme_guess", "application/cose", st), 401, "not valid"},
		"another content type":     {ts.register(acmeToken, "application/json", st), 400, "content_type"},
		"no content type":          {ts.register(acmeToken, "", st), 400, "content_type"},
		"garbage":                  {ts.register(acmeToken, "application/cose", []byte("garbage")), 400, "COSE_Sign1"},
		"nothing":                  {ts.register(acmeToken, "application/cose", nil), 400, "COSE_Sign1"},
		"another tag":              {ts.register(acmeToken, "application/cose", garbled), 400, "COSE_Sign1"},
		"too much":                 {ts.register(acmeToken, "application/cose", make([]byte, maxPayload+1)), 400, "bytes"},
		"another tenant's":         {ts.do(ts.h1, "GET", "/entries/0", globexToken, nil, nil), 404, "no such entry"},
		"not a statement":          {ts.do(ts.h1, "GET", "/entries/1", acmeToken, nil, nil), 404, "not a signed statement"},
		"beyond the log":           {ts.do(ts.h1, "GET", "/entries/99", acmeToken, nil, nil), 400, "beyond"},
		"an index that is none":    {ts.do(ts.h1, "GET", "/entries/x", acmeToken, nil, nil), 400, "index"},
		"an index without a token": {ts.do(ts.h1, "GET", "/entries/0", "", nil, nil), 401, "no token"},
	} {
		problem := map[int]string{}
		if err := cbor.Unmarshal([]byte(c.a.body), &problem); err != nil || c.a.header.Get("Content-Type") != "application/concise-problem-details+cbor" {
			t.Errorf("%s: status %d, not problem details: %q", what, c.a.status, c.a.body)
			continue
		}
		if c.a.status != c.status || problem[-1] == "" || !strings.Contains(problem[-2], c.says) {
			t.Errorf("%s: status %d, %v; want %d and %q", what, c.a.status, problem, c.status, c.says)
		}
	}
}

func TestNoSCITTEndpointWithoutAKey(t *testing.T) {
	ts := newServer(t)
	if a := ts.register(acmeToken, "application/cose", statement(t, "x")); a.status != 404 {
		t.Errorf("status %d", a.status)
	}
}
