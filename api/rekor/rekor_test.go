//go:debug rsa1024min=0

package rekor_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	rekorverify "github.com/sigstore/rekor-tiles/v2/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/internal/peers/rekorpeer"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/store/memstore"
)

const origin = "127.0.0.1"

// A testLog is a Rekor log of this project, served over HTTP.
type testLog struct {
	url    string
	ledger *ledger.Ledger
	vkey   string
	key    ed25519.PublicKey
}

func newLog(t *testing.T, edits ...func(*ledger.Config)) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ledger.Config{Store: memstore.NewRaw(), Signer: signer, Fatal: func(err error) { t.Error(err) }}
	for _, edit := range edits {
		edit(&cfg)
	}
	l, err := ledger.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	key, err := rekor.NewKey(vkey, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	h, err := rekor.NewHandler(rekor.Config{Ledger: l, Keys: []rekor.Key{key}, Logger: slog.New(slog.DiscardHandler), Admit: everybody})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	pub, err := x509.ParsePKIXPublicKey(key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{srv.URL, l, vkey, pub.(ed25519.PublicKey)}
}

// An answer is a server's response to a request.
type answer struct {
	status   int
	kind     string // Content-Type
	logIndex string // X-Log-Index
	body     []byte
}

func (a answer) String() string {
	// protojson varies its spaces on purpose from one build to the next.
	body := bytes.ReplaceAll(a.body, []byte("\u00a0"), []byte(" "))
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		body = compact.Bytes()
	}
	return fmt.Sprintf("%d %s %s %s", a.status, a.kind, a.logIndex, body)
}

func send(t testing.TB, method, url, body string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header.Get("Content-Type"), res.Header.Get("X-Log-Index"), data}
}

func (a answer) entry(t testing.TB) *rekorv1.TransparencyLogEntry {
	t.Helper()
	if a.status != http.StatusCreated {
		t.Fatalf("got %s", a)
	}
	var e rekorv1.TransparencyLogEntry
	if err := protojson.Unmarshal(a.body, &e); err != nil {
		t.Fatal(err)
	}
	return &e
}

// verify checks the proof of an entry with Rekor's own code.
func verify(t testing.TB, e *rekorv1.TransparencyLogEntry, key ed25519.PublicKey) {
	t.Helper()
	v, err := signature.LoadVerifier(key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	nv, err := rekornote.NewNoteVerifier(origin, v)
	if err != nil {
		t.Fatal(err)
	}
	if err := rekorverify.VerifyLogEntry(e, nv); err != nil {
		t.Fatal(err)
	}
	_, id, err := rekornote.KeyHash(origin, key)
	if err != nil || !bytes.Equal(e.GetLogId().GetKeyId(), id) {
		t.Fatalf("the log ID is %x, want %x, %v", e.GetLogId().GetKeyId(), id, err)
	}
}

// A request is the JSON of one for a hashedrekord.
type request struct {
	digest, signature []byte
	verifier          string // member of the verifier's oneof
	raw               []byte
	details           string
}

func (r request) String() string {
	return fmt.Sprintf(`{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":%q,"verifier":{%q:{"rawBytes":%q},"keyDetails":%q}}}}`,
		base64.StdEncoding.EncodeToString(r.digest), base64.StdEncoding.EncodeToString(r.signature), r.verifier,
		base64.StdEncoding.EncodeToString(r.raw), r.details)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sign makes a request for the text with a key.
func sign(key crypto.Signer, hash crypto.Hash, details, text string) request {
	h := hash.New()
	h.Write([]byte(text))
	digest := h.Sum(nil)
	var opts crypto.SignerOpts = hash
	if _, ok := key.(ed25519.PrivateKey); ok {
		opts = &ed25519.Options{Hash: crypto.SHA512}
	}
	return request{digest, must(key.Sign(rand.Reader, digest, opts)), "publicKey", must(x509.MarshalPKIXPublicKey(key.Public())), details}
}

func ecdsaKey(c elliptic.Curve) *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) }

func rsaKey(bits int) *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits)) }

const p256 = "PKIX_ECDSA_P256_SHA_256"

// certify puts a certificate of the key where the key is.
func (r request) certify(key crypto.Signer) request {
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, EmailAddresses: []string{"ci@acme.example"}, NotAfter: time.Unix(2_000_000_000, 0)}
	r.verifier, r.raw = "x509Certificate", must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))
	return r
}

// requests are good ones, of every kind of key.
func requests() map[string]request {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p := ecdsaKey(elliptic.P256())
	return map[string]request{
		"P-256":                  sign(p, crypto.SHA256, p256, "a"),
		"P-256, escapes":         sign(p, crypto.SHA256, p256, "<&>\u2028"),
		"P-384":                  sign(ecdsaKey(elliptic.P384()), crypto.SHA384, "PKIX_ECDSA_P384_SHA_384", "a"),
		"P-521":                  sign(ecdsaKey(elliptic.P521()), crypto.SHA512, "PKIX_ECDSA_P521_SHA_512", "a"),
		"RSA 2048":               sign(rsaKey(2048), crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256", "a"),
		"Ed25519ph":              sign(ed, crypto.SHA512, "PKIX_ED25519_PH", "a"),
		"certificate":            sign(p, crypto.SHA256, p256, "b").certify(p),
		"PAE of a DSSE envelope": sign(p, crypto.SHA256, p256, "DSSEv1 28 application/vnd.in-toto+json 2 {}"),
	}
}

// badRequests are to be refused.
func badRequests() map[string]string {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	p, q, small := ecdsaKey(elliptic.P256()), ecdsaKey(elliptic.P384()), must(rsa.GenerateKey(rand.Reader, 1024))
	good := func() request { return sign(p, crypto.SHA256, p256, "a") }
	edit := func(f func(*request)) string {
		r := good()
		f(&r)
		return r.String()
	}
	replace := func(old, new string) string { return strings.Replace(good().String(), old, new, 1) }
	sum := sha512.Sum512([]byte("a"))
	return map[string]string{
		"empty":                    "",
		"empty object":             "{}",
		"null":                     "null",
		"an array":                 "[]",
		"not JSON":                 "hello",
		"cut off":                  good().String()[:100],
		"unknown field":            `{"hello":1}`,
		"unknown field inside":     replace(`{"digest"`, `{"hello":1,"digest"`),
		"a DSSE request":           `{"dsseRequestV002":{"envelope":{},"verifiers":[]}}`,
		"the request of Rekor v1":  `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{}}`,
		"no request":               `{"hashedRekordRequestV002":{}}`,
		"no digest":                edit(func(r *request) { r.digest = nil }),
		"a short digest":           edit(func(r *request) { r.digest = r.digest[1:] }),
		"a long digest":            edit(func(r *request) { r.digest = append(r.digest, 0) }),
		"another digest":           edit(func(r *request) { r.digest[0] ^= 1 }),
		"digest of another hash":   edit(func(r *request) { r.digest = sum[:] }),
		"no signature":             edit(func(r *request) { r.signature = nil }),
		"another signature":        edit(func(r *request) { r.signature[9] ^= 1 }),
		"a signature of nonsense":  edit(func(r *request) { r.signature = []byte("hello") }),
		"no key":                   edit(func(r *request) { r.raw = nil }),
		"a key of nonsense":        edit(func(r *request) { r.raw = []byte("hello") }),
		"another key":              edit(func(r *request) { r.raw = must(x509.MarshalPKIXPublicKey(ecdsaKey(elliptic.P256()).Public())) }),
		"a certificate as a key":   edit(func(r *request) { *r = r.certify(p); r.verifier = "publicKey" }),
		"a key as a certificate":   edit(func(r *request) { r.verifier = "x509Certificate" }),
		"no verifier":              fmt.Sprintf(`{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":"aGVsbG8="}}}`, base64.StdEncoding.EncodeToString(make([]byte, 32))),
		"verifier without a key":   fmt.Sprintf(`{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":"aGVsbG8=","verifier":{"keyDetails":%q}}}}`, base64.StdEncoding.EncodeToString(make([]byte, 32)), p256),
		"two verifiers":            replace(`"publicKey":`, `"x509Certificate":{"rawBytes":"aGVsbG8="},"publicKey":`),
		"unknown algorithm":        replace(p256, "PKIX_HELLO"),
		"algorithm of another key": replace(p256, "PKIX_ECDSA_P384_SHA_384"),
		"no algorithm":             replace(p256, "PUBLIC_KEY_DETAILS_UNSPECIFIED"),
		"algorithm of ML-DSA":      replace(p256, "ML_DSA_65"),
		"P-384 under SHA-256":      sign(q, crypto.SHA256, "PKIX_ECDSA_P384_SHA_256", "a").String(),
		"RSA of 1024 bits":         sign(small, crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256", "a").String(),
		"Ed25519ph under SHA-256":  sign(ed, crypto.SHA512, "PKIX_ED25519", "a").String(),
		"digest not in base64":     `{"hashedRekordRequestV002":{"digest":"!!"}}`,
		"digest as a number":       `{"hashedRekordRequestV002":{"digest":7}}`,
		"field given twice":        replace(`{"digest"`, `{"digest":"aGVsbG8=","digest"`),
		"invalid UTF-8":            "{\"\xff\":1}",
	}
}

// The canonical bodies equal those of the real Rekor v2, byte for byte. So do
// the responses, except for the index and proof.
func TestBodiesAreRekors(t *testing.T) {
	ours, theirs := newLog(t), startPeer(t)
	for name, r := range requests() {
		t.Run(name, func(t *testing.T) {
			a, b := send(t, "POST", ours.url+"/api/v2/log/entries", r.String()), send(t, "POST", theirs.URL+"/api/v2/log/entries", r.String())
			e, f := a.entry(t), b.entry(t)
			if !bytes.Equal(e.CanonicalizedBody, f.CanonicalizedBody) {
				t.Fatalf("our body:\n%s\nRekor's:\n%s", e.CanonicalizedBody, f.CanonicalizedBody)
			}
			verify(t, e, ours.key)
			verify(t, f, theirs.Key)
			if x, y := shape(t, a.body), shape(t, b.body); x != y || a.kind != b.kind {
				t.Fatalf("our answer is made of\n%s %s\nRekor's of\n%s %s", a.kind, x, b.kind, y)
			}
			if x, y := e.KindVersion.String(), f.KindVersion.String(); strings.ReplaceAll(x, "  ", " ") != strings.ReplaceAll(y, "  ", " ") {
				t.Fatalf("our kind is %s, Rekor's %s", x, y)
			}
		})
	}
}

// shape returns the names and types in a JSON document; lists of hashes differ
// in length.
func shape(t *testing.T, data []byte) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = walk(v[k])
			}
			return v
		default:
			return fmt.Sprintf("%T", v)
		}
	}
	return string(must(json.Marshal(walk(v))))
}

// Entries that Rekor v2 refuses are refused with the same message, and leave
// the log unchanged.
func TestRefusalsAreRekors(t *testing.T) {
	ours, theirs := newLog(t), startPeer(t)
	compare := func(name, method, path, body string) {
		t.Run(name, func(t *testing.T) {
			a, b := send(t, method, ours.url+path, body), send(t, method, theirs.URL+path, body)
			if a.String() != b.String() {
				t.Errorf("we answer\n%s\nRekor answers\n%s", a, b)
			}
			if a.status < 400 {
				t.Errorf("it was taken: %s", a)
			}
		})
	}
	for name, body := range badRequests() {
		compare(name, "POST", "/api/v2/log/entries", body)
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
		compare(method, method, "/api/v2/log/entries", "")
	}
	compare("a path of Rekor v1", "POST", "/api/v1/log/entries", "{}")
	compare("no such path", "GET", "/hello", "")
	if size := ours.ledger.Published().Size; size != 0 {
		t.Errorf("%d entries were recorded", size)
	}
}

// A leaf that no entry bundle can hold is the client's error here. Rekor
// detects it when it writes, and answers 500.
func TestLargeRequests(t *testing.T) {
	l := newLog(t)
	key := ecdsaKey(elliptic.P256())
	large := func(extra int) string {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Unix(2_000_000_000, 0),
			ExtraExtensions: []pkix.Extension{{Id: []int{1, 2, 3}, Value: make([]byte, extra)}}}
		r := sign(key, crypto.SHA256, p256, "large")
		r.verifier, r.raw = "x509Certificate", must(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key))
		return r.String()
	}
	path := l.url + "/api/v2/log/entries"
	send(t, "POST", path, large(48_000)).entry(t)
	if a := send(t, "POST", path, large(50_000)); a.status != 400 || !strings.Contains(string(a.body), "invalid entry") {
		t.Errorf("a body above 65,535 bytes: got %.200s", a)
	}
	if a := send(t, "POST", path, large(300_000)); a.status != 400 || !strings.Contains(string(a.body), "too large") {
		t.Errorf("a request above the limit: got %.200s", a)
	}
	if size := l.ledger.Published().Size; size != 1 {
		t.Errorf("the log has %d entries, want 1", size)
	}
}

// A repeated entry is refused with the index of the first, as in Rekor v2,
// which remembers entries for a shorter time.
func TestDuplicate(t *testing.T) {
	ours, theirs := newLog(t), startPeer(t)
	key := ecdsaKey(elliptic.P256())
	first, second := sign(key, crypto.SHA256, p256, "first").String(), sign(key, crypto.SHA256, p256, "second").String()
	for _, url := range []string{ours.url, theirs.URL} {
		send(t, "POST", url+"/api/v2/log/entries", first).entry(t)
		send(t, "POST", url+"/api/v2/log/entries", second).entry(t)
	}
	a, b := send(t, "POST", ours.url+"/api/v2/log/entries", second), send(t, "POST", theirs.URL+"/api/v2/log/entries", second)
	if a.String() != b.String() || a.status != http.StatusConflict || a.logIndex != "1" {
		t.Errorf("we answer\n%s\nRekor answers\n%s", a, b)
	}
}

func startPeer(t *testing.T) *rekorpeer.Server {
	t.Helper()
	s, err := rekorpeer.Start(context.Background(), t.TempDir(), "--checkpoint-interval", "100ms", "--batch-max-age", "10ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// TestRefusedAppends checks that a log that accepts nothing answers like a
// server that is temporarily down.
func TestRefusedAppends(t *testing.T) {
	full := memstore.NewRaw()
	full.Free = func() (uint64, error) { return 1, nil }
	l := newLog(t, func(c *ledger.Config) { c.Store, c.ReserveBytes = full, 1<<20 })
	a := send(t, "POST", l.url+"/api/v2/log/entries", sign(ecdsaKey(elliptic.P256()), crypto.SHA256, p256, "a").String())
	if a.status != http.StatusServiceUnavailable || strings.Contains(string(a.body), "MiB") {
		t.Errorf("got %s", a)
	}
	if h := send(t, "GET", l.url+"/healthz", ""); h.status != http.StatusServiceUnavailable || !strings.Contains(string(h.body), "NOT_SERVING") {
		t.Errorf("health: got %s", h)
	}
}

// everybody admits every caller to every route.
func everybody(_ string, next http.Handler) http.Handler { return next }
