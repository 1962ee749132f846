package tsa_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/timestamp-authority/v2/pkg/verification"

	"muniment.dev/muniment/api/tsa"
	"muniment.dev/muniment/internal/peers/sigstorerig"
)

// A testTSA is an authority over HTTP whose clock is set by the test.
type testTSA struct {
	url   string
	chain []*x509.Certificate
	now   time.Time
	err   error
}

func newTSA(t *testing.T) *testTSA {
	t.Helper()
	ts := &testTSA{now: time.Now().UTC().Truncate(time.Second)}
	key, chain, err := tsa.NewChain("tsa.example", ts.now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	a, err := tsa.New(key, chain, func() (time.Time, error) { return ts.now, ts.err }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	ts.url, ts.chain = srv.URL, chain
	return ts
}

func post(t *testing.T, url, kind string, body []byte) (int, []byte) {
	t.Helper()
	res, err := http.Post(url, kind, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, data
}

const query = "application/timestamp-query"

// Sigstore's own code verifies the timestamps, with the chain's parts as trust.
func TestTimestampsVerify(t *testing.T) {
	ts := newTSA(t)
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		for _, certificates := range []bool{true, false} {
			nonce := big.NewInt(0x1234567890)
			req, err := timestamp.CreateRequest(strings.NewReader("hello"), &timestamp.RequestOptions{Hash: hash, Certificates: certificates, Nonce: nonce})
			if err != nil {
				t.Fatal(err)
			}
			status, data := post(t, ts.url, query, req)
			if status != http.StatusOK {
				t.Fatalf("%s: %d %s", hash, status, data)
			}
			stamp, err := verification.VerifyTimestampResponse(data, strings.NewReader("hello"), verification.VerifyOpts{
				TSACertificate: ts.chain[0], Roots: ts.chain[1:], Nonce: nonce, CommonName: ts.chain[0].Subject.CommonName,
			})
			if err != nil {
				t.Fatalf("%s, certificates %t: %v", hash, certificates, err)
			}
			if !stamp.Time.Equal(ts.now) || (len(stamp.Certificates) > 0) != certificates {
				t.Errorf("%s: the time is %s, want %s; %d certificates", hash, stamp.Time, ts.now, len(stamp.Certificates))
			}
			if _, err := verification.VerifyTimestampResponse(data, strings.NewReader("hellO"), verification.VerifyOpts{TSACertificate: ts.chain[0], Roots: ts.chain[1:]}); err == nil {
				t.Errorf("%s: the timestamp is taken for another text", hash)
			}
		}
	}
}

// Requests that Sigstore's timestamp server refuses are refused with the same
// status.
func TestRefusals(t *testing.T) {
	ts := newTSA(t)
	peer := sigstorerig.Start(t, sigstorerig.TSA())
	request := func(edit func(*timestamp.Request)) []byte {
		r := &timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: make([]byte, 32), Certificates: true}
		edit(r)
		data, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	good := request(func(*timestamp.Request) {})
	for name, test := range map[string]struct {
		kind string
		body []byte
		want int
		says string
	}{
		"a good one":     {query, good, 200, ""},
		"nothing":        {query, nil, 422, "empty"},
		"nonsense":       {query, []byte("hello"), 400, "RFC 3161"},
		"trailing data":  {query, append(slices.Clone(good), 0), 400, "RFC 3161"},
		"SHA-1":          {query, request(func(r *timestamp.Request) { r.HashAlgorithm, r.HashedMessage = crypto.SHA1, make([]byte, 20) }), 400, "SHA-256"},
		"a short digest": {query, request(func(r *timestamp.Request) { r.HashedMessage = make([]byte, 31) }), 400, "length"},
		"another policy": {query, request(func(r *timestamp.Request) { r.TSAPolicyOID = asn1.ObjectIdentifier{1, 2, 3} }), 400, "policy"},
		"its own policy": {query, request(func(r *timestamp.Request) { r.TSAPolicyOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2} }), 200, ""},
		"extensions": {query, request(func(r *timestamp.Request) {
			r.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Value: []byte{5, 0}}}
		}), 400, "extensions"},
		"another type":  {"text/plain", good, 415, query},
		"no type":       {"", good, 415, query},
		"far too large": {query, make([]byte, 1<<20), 400, "16 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			status, data := post(t, ts.url, test.kind, test.body)
			if status != test.want || !strings.Contains(string(data), test.says) {
				t.Errorf("got %d %.200q, want %d and %q", status, data, test.want, test.says)
			}
			// Whether the server answers 200 or 201 is one of its options.
			if theirs, data := post(t, peer.TSA, test.kind, test.body); theirs/100 != test.want/100 || theirs >= 400 && theirs != test.want {
				t.Errorf("Sigstore's server answers %d %.200q, ours %d", theirs, data, status)
			}
		})
	}
	if res, err := http.Get(ts.url); err != nil || res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %v, %v", res, err)
	}
}

// TestNoTimestampWithoutAClock checks that an untrusted clock stops timestamps.
func TestNoTimestampWithoutAClock(t *testing.T) {
	ts := newTSA(t)
	req, err := timestamp.CreateRequest(strings.NewReader("hello"), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		if status, data := post(t, ts.url, query, req); status != http.StatusServiceUnavailable || strings.Contains(string(data), "secret") {
			t.Errorf("%s: got %d %s", when, status, data)
		}
	}
	now := ts.now
	ts.now = ts.chain[0].NotAfter.Add(time.Second)
	refused("after the certificate's end")
	ts.now = ts.chain[0].NotBefore.Add(-time.Second)
	refused("before the certificate's begin")
	ts.now, ts.err = now, errors.New("secret reason")
	refused("without a clock")
}

func TestChainIsChecked(t *testing.T) {
	key, chain, err := tsa.NewChain("tsa.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := tsa.NewChain("tsa.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key   crypto.Signer
		chain []*x509.Certificate
	}{
		"no chain":       {key, nil},
		"no root":        {key, chain[:1]},
		"another root":   {key, []*x509.Certificate{chain[0], other[1]}},
		"the wrong way":  {key, []*x509.Certificate{chain[1], chain[0]}},
		"another's key":  {another, chain},
		"another's leaf": {key, other},
	} {
		if _, err := tsa.New(test.key, test.chain, nil, nil); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	parsed, err := tsa.ParseChain([]byte(tsa.EncodeChain(chain)))
	if err != nil || len(parsed) != 2 || !parsed[0].Equal(chain[0]) || !parsed[1].Equal(chain[1]) {
		t.Errorf("a chain that was written reads as %d certificates, %v", len(parsed), err)
	}
	for name, text := range map[string]string{"nothing": "", "nonsense": "hello", "a key": "-----BEGIN PUBLIC KEY-----\naGVsbG8=\n-----END PUBLIC KEY-----\n", "a tail": tsa.EncodeChain(chain) + "hello"} {
		if _, err := tsa.ParseChain([]byte(text)); err == nil {
			t.Errorf("%s was read as a chain", name)
		}
	}
}
