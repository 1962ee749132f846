package cose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"

	"muniment.dev/muniment/verifiers/cose"
	"muniment.dev/muniment/verifiers/dsse"
)

type header = gocose.ProtectedHeader

func claims(iss, sub string) map[any]any { return map[any]any{int64(1): iss, int64(2): sub} }

// sign makes a message with the given protected header, which gets the
// algorithm.
func sign(t *testing.T, alg gocose.Algorithm, key crypto.Signer, h header, unprotected gocose.UnprotectedHeader, payload []byte) []byte {
	t.Helper()
	s, err := gocose.NewSigner(alg, key)
	if err != nil {
		t.Fatal(err)
	}
	p := header{gocose.HeaderLabelAlgorithm: alg}
	for k, v := range h {
		p[k] = v
	}
	data, err := gocose.Sign1(rand.Reader, s, gocose.Headers{Protected: p, Unprotected: unprotected}, payload, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func good() header {
	return header{gocose.HeaderLabelCWTClaims: claims("acme.example", "pkg:oci/app"), gocose.HeaderLabelKeyID: []byte("k1"), gocose.HeaderLabelContentType: "application/spdx+json"}
}

func newKey(t *testing.T, public crypto.PublicKey) *dsse.Key {
	t.Helper()
	k, err := dsse.NewKey("", public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestStatementsOfEachAlgorithm(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t, func() crypto.PublicKey { k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader); return &k.PublicKey }())
	for alg, key := range map[gocose.Algorithm]crypto.Signer{gocose.AlgorithmES256: p256, gocose.AlgorithmES384: p384, gocose.AlgorithmEdDSA: ed, gocose.AlgorithmPS256: rsaKey} {
		data := sign(t, alg, key, good(), gocose.UnprotectedHeader{int64(394): []any{[]byte("a receipt")}}, []byte("payload"))
		s, err := cose.Parse(data)
		if err != nil {
			t.Fatalf("%v: %v", alg, err)
		}
		if s.Issuer != "acme.example" || s.Subject != "pkg:oci/app" || s.KeyID != "6b31" || s.ContentType != "application/spdx+json" || string(s.Payload) != "payload" {
			t.Errorf("%v: read as %+v", alg, s)
		}
		again, err := cose.Parse(s.Bytes)
		if err != nil || !bytes.Equal(again.Bytes, s.Bytes) || bytes.Equal(s.Bytes, data) {
			t.Errorf("%v: the registered bytes are not stable, or hold the unprotected header: %v", alg, err)
		}
		if k, err := s.Verify([]*dsse.Key{other, newKey(t, key.Public())}); err != nil || k.ID != newKey(t, key.Public()).ID {
			t.Errorf("%v: %v", alg, err)
		}
		for what, keys := range map[string][]*dsse.Key{"another key": {other}, "no key": nil} {
			if _, err := s.Verify(keys); !errors.Is(err, cose.ErrNotVerified) {
				t.Errorf("%v with %s: %v", alg, what, err)
			}
		}
		for i := range s.Bytes { // a changed statement does not verify, whatever it reads as
			bad := bytes.Clone(s.Bytes)
			bad[i] ^= 1
			if m, err := cose.Parse(bad); err == nil {
				if _, err := m.Verify([]*dsse.Key{newKey(t, key.Public())}); err == nil {
					t.Errorf("%v: byte %d changed, and it verifies", alg, i)
				}
			}
		}
	}
}

// The registered algorithms are exactly those of the specification.
func TestAlgorithms(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/scitt.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(strings.Join(strings.Fields(string(text)), " "), "MUST have `alg` (1; ")
	list, _, found := strings.Cut(list, ")")
	if !found {
		t.Fatal("the specification has no list of algorithms")
	}
	want := map[string]bool{}
	for _, name := range strings.Fields(strings.NewReplacer(",", " ", " or ", " ").Replace(list)) {
		want[name] = true
	}
	if len(want) != 4 {
		t.Fatalf("the specification lists %v", want)
	}
	ed25519Name := gocose.AlgorithmEdDSA.String()
	// All numbers that go-cose has names for are in this range.
	for n := gocose.Algorithm(-1000); n <= 1000; n++ {
		name := n.String()
		if name == ed25519Name {
			name = "EdDSA"
		}
		data, err := cbor.Marshal(cbor.Tag{Number: 18, Content: []any{protected(t, int64(n)), map[any]any{}, []byte("p"), make([]byte, 64)}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = cose.Parse(data)
		if (err == nil) != want[name] {
			t.Errorf("%s (%d): %v", name, n, err)
		}
		if err == nil {
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not registered: %v", want)
	}
	// Names of algorithms are not in the list either.
	data, err := cbor.Marshal(cbor.Tag{Number: 18, Content: []any{protected(t, "ES256"), map[any]any{}, []byte("p"), make([]byte, 64)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cose.Parse(data); !errors.Is(err, cose.ErrMalformed) {
		t.Errorf("a text string: %v", err)
	}
}

// protected is the protected header of a statement with any algorithm.
func protected(t *testing.T, alg any) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	data, err := mode.Marshal(map[int64]any{1: alg, 3: "text/plain", 4: []byte("k1"), 15: map[int64]any{1: "acme.example", 2: "pkg:oci/app"}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestCertificateChain(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ci"}, NotAfter: time.Unix(2e9, 0)},
		&x509.Certificate{Subject: pkix.Name{CommonName: "ci"}}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	h := header{gocose.HeaderLabelCWTClaims: claims("i", "s"), gocose.HeaderLabelX5Chain: der}
	s, err := cose.Parse(sign(t, gocose.AlgorithmES256, key, h, nil, []byte("p")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify([]*dsse.Key{newKey(t, &key.PublicKey)}); err != nil {
		t.Error(err)
	}
}

func TestHashEnvelope(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	h := good()
	h[int64(258)], h[int64(259)] = int64(-16), "text/plain"
	delete(h, gocose.HeaderLabelContentType)
	s, err := cose.Parse(sign(t, gocose.AlgorithmES256, key, h, nil, make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest == nil || s.Digest.Digest["sha256"] != strings.Repeat("0", 64) || s.ContentType != "text/plain" {
		t.Errorf("read as %+v", s)
	}
	for what, bad := range map[string][]byte{"too short": make([]byte, 31), "empty": {}} {
		if _, err := cose.Parse(sign(t, gocose.AlgorithmES256, key, h, nil, bad)); !errors.Is(err, cose.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestMalformedStatements(t *testing.T) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	with := func(edit func(header)) []byte {
		h := good()
		edit(h)
		return sign(t, gocose.AlgorithmES256, key, h, nil, []byte("p"))
	}
	whole := with(func(header) {})
	if _, err := cose.Parse(with(func(h header) { h[gocose.HeaderLabelCritical] = []any{int64(15), int64(4)} })); err != nil {
		t.Errorf("critical members that are known: %v", err)
	}
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"nothing":              {nil, "COSE_Sign1"},
		"JSON":                 {[]byte(`{"payload":""}`), "COSE_Sign1"},
		"untagged":             {whole[1:], "COSE_Sign1"},
		"cut off":              {whole[:len(whole)-1], "COSE_Sign1"},
		"data after":           {append(bytes.Clone(whole), 0), "COSE_Sign1"},
		"deep nesting":         {append([]byte{0xd2}, bytes.Repeat([]byte{0x81}, 1<<20)...), "COSE_Sign1"},
		"too large":            {make([]byte, cose.MaxSize+1), "more than"},
		"detached":             {[]byte{0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40}, "payload"},
		"no claims":            {with(func(h header) { delete(h, gocose.HeaderLabelCWTClaims) }), "CWT claims"},
		"no issuer":            {with(func(h header) { h[gocose.HeaderLabelCWTClaims] = map[any]any{int64(2): "s"} }), "iss"},
		"empty subject":        {with(func(h header) { h[gocose.HeaderLabelCWTClaims] = claims("i", "") }), "sub"},
		"no key":               {with(func(h header) { delete(h, gocose.HeaderLabelKeyID) }), "kid"},
		"empty key ID":         {with(func(h header) { h[gocose.HeaderLabelKeyID] = []byte{} }), "kid"},
		"chain of garbage":     {with(func(h header) { h[gocose.HeaderLabelX5Chain] = []byte("garbage") }), "x5chain"},
		"unknown payload hash": {with(func(h header) { h[int64(258)] = int64(-999) }), "payload-hash-alg"},
		"unknown critical": {with(func(h header) {
			h[gocose.HeaderLabelCritical] = []any{int64(15), int64(-70001)}
			h[int64(-70001)] = "only for those who know it"
		}), "crit (2): \"-70001\""},
		"long subject": {with(func(h header) { h[gocose.HeaderLabelCWTClaims] = claims("i", strings.Repeat("s", 4096)) }), "sub"},
	} {
		_, err := cose.Parse(c.data)
		if !errors.Is(err, cose.ErrMalformed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, which should say %q", name, err, c.says)
		}
	}
}
