package dsse

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/internal/peers"
)

// A signer signs through the library's interface, so that the library creates
// the envelopes.
type signer struct {
	keyID string
	sign  func(message []byte) ([]byte, error)
}

func (s signer) Sign(_ context.Context, message []byte) ([]byte, error) { return s.sign(message) }
func (s signer) KeyID() (string, error)                                 { return s.keyID, nil }

func envelope(t *testing.T, payload string, signers ...sslib.Signer) []byte {
	t.Helper()
	s, err := sslib.NewEnvelopeSigner(signers...)
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.SignPayload(t.Context(), "application/vnd.in-toto+json", []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func pemOf(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func ed25519Pair(t *testing.T, name string) (*Key, signer) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey(name, pemOf(t, public))
	if err != nil {
		t.Fatal(err)
	}
	return k, signer{name, func(m []byte) ([]byte, error) { return ed25519.Sign(private, m), nil }}
}

func hashed256(m []byte) []byte { s := sha256.Sum256(m); return s[:] }
func hashed384(m []byte) []byte { s := sha512.Sum384(m); return s[:] }

func TestEachTypeOfKey(t *testing.T) {
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edPrivate, _ := ed25519.GenerateKey(rand.Reader)
	other, _ := ed25519Pair(t, "other")
	pss := func(m []byte) ([]byte, error) {
		return rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, hashed256(m), nil)
	}
	pkcs1 := func(m []byte) ([]byte, error) {
		return rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, hashed256(m))
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "release"}, NotAfter: time.Now().Add(-time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &p256.PublicKey, p256)
	if err != nil {
		t.Fatal(err)
	}
	signP256 := func(m []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, p256, hashed256(m)) }
	for _, test := range []struct {
		name string
		pem  []byte
		sign func([]byte) ([]byte, error)
	}{
		{"Ed25519", pemOf(t, edPublic), func(m []byte) ([]byte, error) { return ed25519.Sign(edPrivate, m), nil }},
		{"ECDSA P-256", pemOf(t, &p256.PublicKey), signP256},
		{"ECDSA P-256 in a certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), signP256},
		{"ECDSA P-384", pemOf(t, &p384.PublicKey), func(m []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, p384, hashed384(m)) }},
		{"RSA-PSS", pemOf(t, &rsaKey.PublicKey), pss},
		{"RSA PKCS #1 v1.5", pemOf(t, &rsaKey.PublicKey), pkcs1},
		{"RSA key in PKCS #1", pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}), pss},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := ParseKey("release", test.pem)
			if err != nil {
				t.Fatal(err)
			}
			data := envelope(t, `{"a":1}`, signer{"whatever it calls itself", test.sign})
			r, err := Verify(data, []*Key{other, k}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if string(r.Payload) != `{"a":1}` || r.PayloadType != "application/vnd.in-toto+json" || len(r.SignedBy) != 1 || r.SignedBy[0].Name != "release" {
				t.Errorf("got %+v", r)
			}
			der, _ := x509.MarshalPKIXPublicKey(k.Public())
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256(der)); r.Signers()[0].KeyID != want {
				t.Errorf("key ID %s, want %s", r.Signers()[0].KeyID, want)
			}
			if _, err := Verify(data, []*Key{other}, 1); !errors.Is(err, ErrNotVerified) {
				t.Errorf("with another key: %v", err)
			}
			checkMutants(t, data, k)
		})
	}
}

// checkMutants changes each part of an envelope that is signed, and the
// signature.
func checkMutants(t *testing.T, data []byte, k *Key) {
	t.Helper()
	var e sslib.Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, m sslib.Envelope) {
		t.Helper()
		mutant, _ := json.Marshal(m)
		if _, err := Verify(mutant, []*Key{k}, 1); !errors.Is(err, ErrNotVerified) {
			t.Errorf("%s: %v", what, err)
		}
	}
	m := e
	m.PayloadType = "text/plain"
	try("another payload type", m)
	m = e
	m.Payload = base64.StdEncoding.EncodeToString([]byte(`{"a":2}`))
	try("another payload", m)
	for i := range sig {
		changed := append([]byte{}, sig...)
		changed[i] ^= 1
		m = e
		m.Signatures = []sslib.Signature{{KeyID: e.Signatures[0].KeyID, Sig: base64.StdEncoding.EncodeToString(changed)}}
		try(fmt.Sprintf("byte %d of the signature", i), m)
	}
	m.Signatures = []sslib.Signature{{Sig: base64.StdEncoding.EncodeToString(sig[:len(sig)-1])}}
	try("a signature cut short", m)
}

// Nothing in an envelope states the hash. A P-384 key may sign with SHA-256, as
// cosign does.
func TestHashOfKey(t *testing.T) {
	private, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k, err := NewKey("", &private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	data := envelope(t, "x", signer{"", func(m []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, private, hashed256(m)) }})
	if _, err := Verify(data, []*Key{k}, 1); err != nil {
		t.Error(err)
	}
}

func TestThreshold(t *testing.T) {
	a, signA := ed25519Pair(t, "a")
	b, signB := ed25519Pair(t, "b")
	c, _ := ed25519Pair(t, "c")
	again := &Key{ID: a.ID, Name: "a again", public: a.public}
	both := envelope(t, "x", signB, signA)
	twice := envelope(t, "x", signA, signA, signer{"b", signA.sign})

	r, err := Verify(both, []*Key{a, b, c}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.SignedBy) != 2 || r.SignedBy[0] != a || r.SignedBy[1] != b {
		t.Errorf("signed by %v, want a and b in the order of the keys", r.SignedBy)
	}
	var short *ThresholdError
	if _, err := Verify(both, []*Key{a, b, c}, 3); !errors.Is(err, ErrNotVerified) || !errors.As(err, &short) || len(short.SignedBy) != 2 {
		t.Errorf("two of three: %v", err)
	}
	if _, err := Verify(twice, []*Key{a, b}, 2); !errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "a (sha256:") {
		t.Errorf("one key that signed three times: %v", err)
	}
	if _, err := Verify(twice, []*Key{a, again, b}, 2); !errors.Is(err, ErrNotVerified) {
		t.Errorf("one key that was given twice: %v", err)
	}
	for _, test := range []struct {
		keys      []*Key
		threshold int
		want      string
	}{
		{nil, 1, "no key"},
		{[]*Key{a}, 0, "threshold 0: must be at least 1"},
		{[]*Key{a}, -1, "threshold -1: must be at least 1"},
		{[]*Key{a, again}, 2, "exceeds the number of different keys, which is 1"},
	} {
		_, err := Verify(both, test.keys, test.threshold)
		if err == nil || errors.Is(err, ErrNotVerified) || errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%d keys, threshold %d: %v, want %q", len(test.keys), test.threshold, err, test.want)
		}
	}
}

func TestMalformedEnvelopes(t *testing.T) {
	k, sign := ed25519Pair(t, "a")
	good := string(envelope(t, "x", sign))
	many := `{"payloadType":"t","payload":"eA==","signatures":[` + strings.TrimSuffix(strings.Repeat(`{"sig":"eA=="},`, MaxSignatures+1), ",") + `]}`
	for _, test := range []struct{ data, want string }{
		{"", "EOF"},
		{good[:len(good)/2], "EOF"},
		{good + "x", "x"},
		{strings.Replace(good, "payloadType", "payloadtype", 1), "payloadType: missing"},
		{strings.Replace(good, `"payload":`, `"payload":"eA==","payload":`, 1), "duplicate"},
		{`{"payloadType":"t","payload":"!","signatures":[{"sig":"eA=="}]}`, "payload: not base64"},
		{`{"payloadType":"t","payload":"eA=="}`, "signatures: missing"},
		{`{"payloadType":"t","payload":"eA==","signatures":[]}`, "signatures: missing"},
		{`{"payloadType":"t","payload":"eA==","signatures":[{"sig":"eA=="},{"keyid":"a"}]}`, "signatures[1].sig: missing"},
		{`{"payloadType":"t","payload":"eA==","signatures":[{"sig":"?"}]}`, "signatures[0].sig: not base64"},
		{`{"payloadType":"t","payload":"eA==","signatures":{}}`, "signatures"},
		{`{"payloadType":"t","payload":"eA==","signatures":[{"sig":1}]}`, "/signatures/0/sig"},
		{many, "more than 64"},
		{`{"payloadType":"t","payload":"eA==","signatures":[` + strings.Repeat("{},", 3_000_000) + `{}]}`, "more than 64"},
	} {
		_, err := Verify([]byte(test.data), []*Key{k}, 1)
		if !errors.Is(err, ErrMalformed) || errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.80s: %v, want %q", test.data, err, test.want)
		}
	}
	none := `{"payloadType":"t","payload":"eA==","signatures":[{"sig":"bm9uZQ==","alg":"none"}]}`
	if _, err := Verify([]byte(none), []*Key{k}, 1); !errors.Is(err, ErrNotVerified) {
		t.Errorf("alg none: %v", err)
	}
}

func TestBadKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(private)
	k, _ := ed25519Pair(t, "a")
	for _, test := range []struct {
		name, text, want string
	}{
		{"empty", "", "not PEM"},
		{"DER", "0\x59\x30", "not PEM"},
		{"private", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), "private key"},
		{"request", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: pkcs8})), "it is a certificate request"},
		{"two", string(pemOf(t, k.Public())) + string(pemOf(t, k.Public())), "more than one"},
		{"P-224", string(pemOf(t, &p224.PublicKey)), "P-224"},
		{"RSA 1024", string(pemOf(t, &small.PublicKey)), "1024 bits"},
		{"garbage", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "damaged"},
	} {
		_, err := ParseKey(test.name, []byte(test.text))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.name) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if strings.Contains(fmt.Sprint(err), base64.StdEncoding.EncodeToString(pkcs8)) {
			t.Errorf("%s: the error shows the key", test.name)
		}
	}
}

// An envelope that cosign signed with a key that it generated is verified.
func TestCosign(t *testing.T) {
	cosign := peers.Path(t, "cosign")
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(cosign, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for name, content := range map[string]string{"a.txt": "hello\n", "p.json": `{"builder":"x"}`, "sc.json": `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("generate-key-pair")
	run("attest-blob", "--key", "cosign.key", "--signing-config", "sc.json", "--bundle", "b.json", "--yes", "--predicate", "p.json", "--type", "https://example.com/p", "a.txt")
	text, err := os.ReadFile(filepath.Join(dir, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseKey("cosign.pub", text)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "b.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bundle struct {
		Envelope json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(data, &bundle); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(bundle.Envelope, []*Key{k}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(r.Payload), "https://example.com/p") {
		t.Errorf("payload %s", r.Payload)
	}
}
