package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/delta"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

// newKey returns a signer and its public key.
func newKey(t *testing.T) (*Signer, *dsse.Key) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := dsse.NewKey("gate.pub", private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

// TestDeltaAttestation verifies the attestation of a delta, and checks that
// nothing else verifies in its place.
func TestDeltaAttestation(t *testing.T) {
	signer, key := newKey(t)
	stranger, other := newKey(t)
	file, now := []byte("a delta"), time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	h := &delta.Header{Origin: "ledger.example.com", From: 6, To: 9, Streams: []delta.Stream{{ID: entry.Hash{1}, First: 2, End: 4}}}
	attested := func(s *Signer, content []byte) []byte {
		a, err := s.Delta(h, sha256.Sum256(content), now)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	bundle := func(typ, predicate string) []byte {
		b, err := signer.Bundle(Statement([]entry.Subject{{Name: "x", Digest: map[string]string{"sha256": sha(file)}}}, typ, json.RawMessage(predicate)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := attested(signer, file)
	if err := VerifyDelta(good, key, bytes.NewReader(file), h.Origin); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		attestation []byte
		key         *dsse.Key
		file        string
		origin      string
	}{
		"another file":           {good, key, "another delta", h.Origin},
		"another log":            {good, key, string(file), "other.example.com"},
		"another key":            {good, other, string(file), h.Origin},
		"a stranger's signature": {attested(stranger, file), key, string(file), h.Origin},
		"nothing":                {nil, key, string(file), h.Origin},
		"not a bundle":           {[]byte(`{"payloadType":"application/vnd.in-toto+json"}`), key, string(file), h.Origin},
		"a changed signature":    {bytes.Replace(good, []byte(`"sig":"`), []byte(`"sig":"AA`), 1), key, string(file), h.Origin},
		"another predicate type": {bundle(intoto.SVR, `{"log":"ledger.example.com","from":6,"to":9}`), key, string(file), h.Origin},
		"no sizes":               {bundle(DeltaPredicate, `{"log":"ledger.example.com"}`), key, string(file), h.Origin},
		"no object":              {bundle(DeltaPredicate, `["ledger.example.com"]`), key, string(file), h.Origin},
	} {
		if err := VerifyDelta(c.attestation, c.key, strings.NewReader(c.file), c.origin); !errors.Is(err, ErrAttestation) {
			t.Errorf("%s: %v, want %v", name, err, ErrAttestation)
		}
	}
	if _, err := (*Signer)(nil).Delta(h, [32]byte{}, now); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
	if err := VerifyDelta(bundle(DeltaPredicate, `{"log":"ledger.example.com","from":6,"to":9}`), key, bytes.NewReader(file), h.Origin); err != nil {
		t.Errorf("the least predicate: %v", err)
	}
}

func sha(data []byte) string { return strings.TrimPrefix(entry.SHA256(data), "sha256:") }
