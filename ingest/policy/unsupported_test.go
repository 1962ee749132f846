package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/sigstore"
)

// TestUnsupportedSignatures checks that a signature in an unsupported form is
// not reported as invalid, with and without a trusted root for the certificate.
func TestUnsupportedSignatures(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	newCert := func(template, parent *x509.Certificate) *x509.Certificate {
		t.Helper()
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca := newCert(template, template)
	leaf := newCert(&x509.Certificate{SerialNumber: big.NewInt(2), EmailAddresses: []string{"ci@acme.example"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, ca)

	type object = map[string]any
	document := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	trusted, err := sigstore.ParseTrustedRoot(document(object{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "certificateAuthorities": []object{
		{"uri": "https://ca.example", "certChain": object{"certificates": []object{{"rawBytes": ca.Raw}}}, "validFor": object{"start": "2020-01-01T00:00:00Z"}}}}))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := ecdsa.SignASN1(rand.Reader, key, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sig    []byte
		want   string
		reason string
	}{
		"of an unknown form": {[]byte{1, 2, 3}, entry.Unverified, "unsupported signature"},
		"wrong":              {wrong, entry.Failed, "does not match the bundle's certificate"},
	} {
		b := signed(t, format.Bundle, document(object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
			"verificationMaterial": object{"certificate": object{"rawBytes": leaf.Raw}, "timestampVerificationData": object{"rfc3161Timestamps": []object{{"signedTimestamp": []byte("a")}}}},
			"dsseEnvelope":         object{"payloadType": "text/plain", "payload": []byte("hello"), "signatures": []object{{"sig": c.sig}}}}))
		for roots, r := range map[string]Roots{"no root": nil, "a root that knows the certificate": {"ours": {Trusted: trusted}}} {
			p := newCourt(condition.NewMeter(context.Background(), condition.DecisionCost), &AdmissionPolicy{}, &Evidence{Signed: b}, r).judge()
			if p.Result != c.want || !strings.Contains(p.Reason, c.reason) && (roots != "no root" || c.want == entry.Failed) {
				t.Errorf("%s, %s: %s: %s", name, roots, p.Result, p.Reason)
			}
		}
	}
}
