package dsse

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"
)

// TestSign checks that envelopes are verified with the key that signed them,
// and with no other, for each type of key.
func TestSign(t *testing.T) {
	payload := []byte(`{"a":1}`)
	var keys []*Key
	var envelopes [][]byte
	for name, generate := range map[string]func() (crypto.Signer, error){
		"Ed25519": func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err },
		"P-256":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"P-521":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
		"RSA":     func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	} {
		signer, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		key, err := NewKey(name, signer.Public())
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := Sign("text/plain", payload, signer)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		keys, envelopes = append(keys, key), append(envelopes, envelope)
	}
	for i, envelope := range envelopes {
		for k, key := range keys {
			r, err := Verify(envelope, []*Key{key}, 1)
			if i == k && (err != nil || r.PayloadType != "text/plain" || !bytes.Equal(r.Payload, payload)) {
				t.Errorf("%s: %+v, %v", key.Name, r, err)
			}
			if i != k && !errors.Is(err, ErrNotVerified) {
				t.Errorf("an envelope by %s, verified with %s: %v", keys[i].Name, key.Name, err)
			}
		}
		if e, err := Parse(envelope); err != nil || len(e.KeyIDs()) != 1 || e.KeyIDs()[0] != keys[i].ID {
			t.Errorf("%s: %v, %v", keys[i].Name, e, err)
		}
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign("text/plain", payload, weak); !errors.Is(err, ErrMalformed) {
		t.Errorf("a key whose signatures cannot be verified: %v", err)
	}
}
