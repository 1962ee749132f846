package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// certificates DIR: writes an authority's ca.pem there, and certificates and
// keys that it signed: server for 127.0.0.1, client for
// spiffe://acme.example/ci, outsider for spiffe://acme.example/outsider.
func certificatesScript(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		return k
	}
	write := func(name, kind string, der []byte) {
		ts.Check(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	until := time.Now().Add(time.Hour)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caKey := newKey()
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	ts.Check(err)
	write("ca.pem", "CERTIFICATE", der)
	for name, c := range map[string]*x509.Certificate{
		"server":   {IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		"client":   {URIs: []*url.URL{{Scheme: "spiffe", Host: "acme.example", Path: "/ci"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		"outsider": {URIs: []*url.URL{{Scheme: "spiffe", Host: "acme.example", Path: "/outsider"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		c.SerialNumber, c.NotAfter = big.NewInt(time.Now().UnixNano()), until
		key := newKey()
		der, err := x509.CreateCertificate(rand.Reader, c, ca, key.Public(), caKey)
		ts.Check(err)
		write(name+".crt", "CERTIFICATE", der)
		der, err = x509.MarshalPKCS8PrivateKey(key)
		ts.Check(err)
		write(name+".key", "PRIVATE KEY", der)
	}
}
