package sigstore

import (
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
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

const hello = "hello\n"

// noneNeeded is what key-only bundles meet.
var noneNeeded = Requirements{LogEntries: None, Timestamps: None, SCTs: None}

func digestOf(t testing.TB, h crypto.Hash, message []byte) []byte {
	t.Helper()
	hash := h.New()
	hash.Write(message)
	return hash.Sum(nil)
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func document(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type object = map[string]any

// bare makes a bundle with a signature over a digest.
func bare(t testing.TB, material object, algorithm string, digest, sig []byte) *Bundle {
	t.Helper()
	b, err := Parse(document(t, object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
		"messageSignature": object{"messageDigest": object{"algorithm": algorithm, "digest": base64Of(digest)}, "signature": base64Of(sig)}}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// enveloped makes a bundle with a DSSE envelope.
func enveloped(t testing.TB, material object, payloadType string, payload, sig []byte) *Bundle {
	t.Helper()
	b, err := Parse(document(t, object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
		"dsseEnvelope": object{"payloadType": payloadType, "payload": base64Of(payload), "signatures": []object{{"sig": base64Of(sig)}}}}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var byHint = object{"publicKey": object{"hint": "any"}}

func statement(digests map[string]string) []byte {
	d, err := json.Marshal(digests)
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":%s}],"predicateType":"https://example.com/p","predicate":{}}`, d)
}

func signer(t testing.TB, private crypto.Signer) *dsse.Key {
	t.Helper()
	k, err := dsse.NewKey("k", private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, private crypto.Signer, digest []byte, opts crypto.SignerOpts) []byte {
	t.Helper()
	sig, err := private.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Keys sign bare and in envelopes in every form that clients use, and in no
// other.
func TestFormsOfSignatures(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	ph := &ed25519.Options{Hash: crypto.SHA512}
	names := map[crypto.Hash]string{crypto.SHA256: "SHA2_256", crypto.SHA384: "SHA2_384", crypto.SHA512: "SHA2_512", crypto.SHA3_256: "SHA3_256"}
	for _, c := range []struct {
		name    string
		private crypto.Signer
		hash    crypto.Hash
		opts    crypto.SignerOpts
		good    bool // in an envelope
		bare    bool // over a digest that stands in the bundle
	}{
		{"P-256", p256, crypto.SHA256, crypto.SHA256, true, true},
		{"P-256 with SHA-384", p256, crypto.SHA384, crypto.SHA384, true, false},
		{"P-384", p384, crypto.SHA384, crypto.SHA384, true, true},
		{"P-384 with SHA-256", p384, crypto.SHA256, crypto.SHA256, true, true},
		{"P-384 with SHA-512", p384, crypto.SHA512, crypto.SHA512, true, false},
		{"RSA PKCS #1 v1.5", rsa2048, crypto.SHA256, crypto.SHA256, true, true},
		{"RSA PSS", rsa2048, crypto.SHA256, pss, true, true},
		{"RSA with SHA-512", rsa2048, crypto.SHA512, crypto.SHA512, true, true},
		{"Ed25519ph", ed, crypto.SHA512, ph, true, true},
	} {
		v := keys(t, nil, noneNeeded, signer(t, c.private))
		digest := digestOf(t, c.hash, []byte(hello))
		b := bare(t, byHint, names[c.hash], digest, sign(t, c.private, digest, c.opts))
		got, err := v.Verify(b, nil)
		if (err == nil) != c.bare {
			t.Errorf("%s, bare: %v", c.name, err)
		}
		if c.bare && err == nil && (len(got.Subjects) != 1 || got.Signer != (entry.Signer{KeyID: signer(t, c.private).ID})) {
			t.Errorf("%s, bare: %+v", c.name, got)
		}
		a, err := ReadArtifact(strings.NewReader(hello))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(b, a); (err == nil) != c.bare {
			t.Errorf("%s, with the artifact: %v", c.name, err)
		}
		payload := statement(map[string]string{"sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(hello)))})
		pae := digestOf(t, c.hash, sslib.PAE(intoto.MediaType, payload))
		if _, err := v.Verify(enveloped(t, byHint, intoto.MediaType, payload, sign(t, c.private, pae, c.opts)), a); (err == nil) != c.good {
			t.Errorf("%s, envelope: %v", c.name, err)
		}
	}

	// Pure Ed25519 is over the message, so that a bare signature needs the
	// artifact.
	v := keys(t, nil, noneNeeded, signer(t, ed))
	b := bare(t, byHint, "SHA2_256", digestOf(t, crypto.SHA256, []byte(hello)), ed25519.Sign(ed, []byte(hello)))
	_, err = v.Verify(b, nil)
	wantRefused(t, "pure Ed25519 without the artifact", err, "specify the artifact itself")
	d, err := ArtifactDigest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(hello))))
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(b, d)
	wantRefused(t, "pure Ed25519 by digest", err, "specify the artifact itself")
	a, err := ReadArtifact(strings.NewReader(hello))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(b, a); err != nil {
		t.Errorf("pure Ed25519: %v", err)
	}
	several := keys(t, nil, noneNeeded, signer(t, p256), signer(t, p384), signer(t, ed), signer(t, rsa2048))
	if got, err := several.Verify(b, a); err != nil || got.Signer.KeyID != signer(t, ed).ID {
		t.Errorf("pure Ed25519, one of several keys: %+v, %v", got, err)
	}
	_, err = several.Verify(b, nil)
	wantRefused(t, "pure Ed25519, one of several keys, without the artifact", err, "specify the artifact itself")
	gone := &Artifact{a.digests, failing{}}
	if _, err := v.Verify(b, gone); err == nil || errors.Is(err, ErrNotVerified) {
		t.Errorf("an artifact that can't be read: %v, want an error that is no verdict", err)
	}
	payload := statement(map[string]string{"sha256": "00"})
	if _, err := v.Verify(enveloped(t, byHint, intoto.MediaType, payload, ed25519.Sign(ed, sslib.PAE(intoto.MediaType, payload))), nil); err != nil {
		t.Errorf("pure Ed25519, envelope: %v", err)
	}

	// The bundle states which hash it is over, unsigned.
	digest := digestOf(t, crypto.SHA256, []byte(hello))
	v = keys(t, nil, noneNeeded, signer(t, p256))
	sig := sign(t, p256, digest, crypto.SHA256)
	_, err = v.Verify(bare(t, byHint, "SHA3_256", digest, sig), nil)
	wantRefused(t, "another hash's name", err, "messageDigest")
	_, err = v.Verify(bare(t, byHint, "SHA2_512", append(digest, make([]byte, 32)...), sig), nil)
	wantRefused(t, "a longer digest that begins with the signed one", err, "messageDigest")
	sig = sign(t, p384, digest, crypto.SHA256)
	_, err = keys(t, nil, noneNeeded, signer(t, p384)).Verify(bare(t, byHint, "SHA2_384", append(make([]byte, 16), digest...), sig), nil)
	wantRefused(t, "a longer digest that ends with the signed one", err, "messageDigest")
}

type failing struct{}

func (failing) Read([]byte) (int, error)       { return 0, errors.New("the disk is gone") }
func (failing) Seek(int64, int) (int64, error) { return 0, nil }

// An artifact is a subject if a digest is the same and none differs.
func TestSubjects(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := keys(t, nil, noneNeeded, signer(t, ed))
	s256, s512 := fmt.Sprintf("%x", sha256.Sum256([]byte(hello))), fmt.Sprintf("%x", sha512.Sum512([]byte(hello)))
	a, err := ReadArtifact(strings.NewReader(hello))
	if err != nil {
		t.Fatal(err)
	}
	d, err := ArtifactDigest("sha256:" + strings.ToUpper(s256))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		digests      map[string]string
		file, digest bool
	}{
		{map[string]string{"sha256": s256}, true, true},
		{map[string]string{"sha256": s256, "gitCommit": "ab"}, true, true},
		{map[string]string{"sha512": s512}, true, false},
		{map[string]string{"sha256": s256, "sha512": s512}, true, true},
		{map[string]string{"sha256": s256, "sha512": s512[:127] + "g"}, false, true},
		{map[string]string{"sha256": s512}, false, false},
		{map[string]string{"gitCommit": s256}, false, false},
	} {
		payload := statement(c.digests)
		b := enveloped(t, byHint, intoto.MediaType, payload, ed25519.Sign(ed, sslib.PAE(intoto.MediaType, payload)))
		if _, err := v.Verify(b, a); (err == nil) != c.file {
			t.Errorf("%v: file: %v", c.digests, err)
		}
		if _, err := v.Verify(b, d); (err == nil) != c.digest {
			t.Errorf("%v: digest: %v", c.digests, err)
		}
	}
	text := []byte("not a statement")
	b := enveloped(t, byHint, "text/plain", text, ed25519.Sign(ed, sslib.PAE("text/plain", text)))
	if got, err := v.Verify(b, nil); err != nil || got.PayloadType != "text/plain" || string(got.Payload) != string(text) || got.Subjects != nil || got.PredicateType != "" {
		t.Errorf("another document: %+v, %v", got, err)
	}
	_, err = v.Verify(b, a)
	wantRefused(t, "another document, artifact", err, "names no artifact")
	for _, bad := range []string{"", "sha256:", "sha256:12", "sha512:" + s512, s256, "sha256:" + s256 + "00"} {
		if _, err := ArtifactDigest(bad); err == nil {
			t.Errorf("%q is a digest", bad)
		}
	}
}

// authority is a certificate authority of our own, and a trusted root that
// trusts it.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	root *TrustedRoot
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	root, err := ParseTrustedRoot(document(t, object{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "certificateAuthorities": []object{
		{"uri": "https://ca.example", "certChain": object{"certificates": []object{{"rawBytes": base64Of(der)}}}, "validFor": object{"start": "2020-01-01T00:00:00Z"}}}}))
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, root}
}

// sign makes a bundle with a new certificate, which is valid in the given span.
func (a *authority) sign(t testing.TB, from, until time.Time, usage x509.ExtKeyUsage) *Bundle {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := asn1.MarshalWithParams("https://issuer.example", "utf8")
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: until, EmailAddresses: []string{"ci@acme.example"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: issuer}}}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, crypto.SHA256, []byte(hello))
	return bare(t, object{"certificate": object{"rawBytes": base64Of(der)}}, "SHA2_256", digest, sign(t, key, digest, crypto.SHA256))
}

func TestCertificatesAtTheCurrentTime(t *testing.T) {
	a, now := newAuthority(t), time.Now()
	v := certificates(t, a.root, Requirements{LogEntries: None, Timestamps: None, SCTs: None, CurrentTime: true})
	got, err := v.Verify(a.sign(t, now.Add(-time.Hour), now.AddDate(1, 0, 0), x509.ExtKeyUsageCodeSigning), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Signer != (entry.Signer{Identity: "ci@acme.example", Issuer: "https://issuer.example"}) || len(got.Timestamps) != 1 || got.Timestamps[0].Source != SourceClock || got.TrustedRoot != a.root.Digest() {
		t.Errorf("got %+v", got)
	}
	_, err = v.Verify(a.sign(t, now.AddDate(-1, 0, 0), now.Add(-time.Second), x509.ExtKeyUsageCodeSigning), nil)
	wantRefused(t, "expired", err, "not valid now")
	_, err = v.Verify(a.sign(t, now.Add(time.Hour), now.AddDate(1, 0, 0), x509.ExtKeyUsageCodeSigning), nil)
	wantRefused(t, "not yet valid", err, "not valid now")
	_, err = v.Verify(a.sign(t, now.Add(-time.Hour), now.AddDate(1, 0, 0), x509.ExtKeyUsageServerAuth), nil)
	wantRefused(t, "a server's certificate", err, "certificate verification failed")
	_, err = v.Verify(newAuthority(t).sign(t, now.Add(-time.Hour), now.AddDate(1, 0, 0), x509.ExtKeyUsageCodeSigning), nil)
	wantRefused(t, "another authority's", err, "certificate verification failed")
	_, err = certificates(t, a.root, Requirements{LogEntries: None, Timestamps: None, SCTs: 1, CurrentTime: true}).Verify(a.sign(t, now.Add(-time.Hour), now.AddDate(1, 0, 0), x509.ExtKeyUsageCodeSigning), nil)
	wantRefused(t, "no SCT", err, "certificate timestamp")
}
