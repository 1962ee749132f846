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
	"fmt"
	"math/big"
	"testing"
)

// Every signature of docs/verifiers.md verifies, and none of another message
// does.
func TestSignatureForms(t *testing.T) {
	text := []byte("hello")
	m, other := NewMessage(text), NewMessage([]byte("hellp"))
	all := []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
	check := func(name string, public crypto.PublicKey, sig []byte) {
		t.Helper()
		if err := CheckSignature(public, m, sig); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := CheckSignature(public, other, sig); err == nil || errors.Is(err, ErrUnsupported) {
			t.Errorf("%s, of another message: %v", name, err)
		}
		for _, bad := range [][]byte{nil, sig[:len(sig)-1], append(bytes.Clone(sig), 0), bytes.Repeat([]byte{0x30}, 3)} {
			if err := CheckSignature(public, m, bad); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s, %d bytes: %v", name, len(bad), err)
			}
		}
	}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		size := (curve.Params().BitSize + 7) / 8
		for _, h := range all {
			name := fmt.Sprintf("%s, %s", curve.Params().Name, h)
			der, err := ecdsa.SignASN1(rand.Reader, key, m.Digests[h])
			if err != nil {
				t.Fatal(err)
			}
			check(name, &key.PublicKey, der)
			r, s, err := ecdsa.Sign(rand.Reader, key, m.Digests[h])
			if err != nil {
				t.Fatal(err)
			}
			raw := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
			check(name+", r and s", &key.PublicKey, raw)
			raw[0] ^= 1
			if err := CheckSignature(&key.PublicKey, m, raw); !errors.Is(err, ErrWrongSignature) {
				t.Errorf("%s, changed: %v", name, err)
			}
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		sig, err := rsa.SignPKCS1v15(rand.Reader, rsaKey, h, m.Digests[h])
		if err != nil {
			t.Fatal(err)
		}
		check("RSA PKCS #1 "+h.String(), &rsaKey.PublicKey, sig)
		for _, salt := range []int{0, 20, rsa.PSSSaltLengthEqualsHash, rsa.PSSSaltLengthAuto} {
			sig, err := rsa.SignPSS(rand.Reader, rsaKey, h, m.Digests[h], &rsa.PSSOptions{SaltLength: salt})
			if err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprintf("RSA PSS %s, salt %d", h, salt), &rsaKey.PublicKey, sig)
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	check("Ed25519", public, ed25519.Sign(private, text))
	ph, err := private.Sign(nil, m.Digests[crypto.SHA512], &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	check("Ed25519ph", public, ph)
	if err := CheckSignature(big.NewInt(1), m, ph); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a key of no type: %v", err)
	}
}
