package tsa

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	tsax509 "github.com/sigstore/timestamp-authority/v2/pkg/x509"
)

// lifetime is the validity of a new chain. A timestamp remains valid as long as
// its chain is trusted.
const lifetime = 10 * 365 * 24 * time.Hour

// NewChain generates a key and issues a certificate for it under a new root.
// The root's key is discarded, so it can never issue another certificate.
func NewChain(name string, now time.Time) (*ecdsa.PrivateKey, []*x509.Certificate, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	from, until := now.Add(-time.Minute), now.Add(lifetime)
	root, err := issue(&x509.Certificate{
		Subject: subject(name, "timestamp root"), NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, &rootKey.PublicKey, rootKey)
	if err != nil {
		return nil, nil, fmt.Errorf("root certificate: %w", err)
	}
	// RFC 3161, section 2.3, requires a single, critical extended key usage.
	// The ExtKeyUsage field of a template cannot express that.
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{tsax509.EKUTimestampingOID})
	if err != nil {
		return nil, nil, err
	}
	leaf, err := issue(&x509.Certificate{
		Subject: subject(name, "timestamp authority"), NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: tsax509.EKUOID, Critical: true, Value: usage}},
	}, root, &key.PublicKey, rootKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	return key, []*x509.Certificate{leaf, root}, nil
}

func subject(name, what string) pkix.Name {
	return pkix.Name{Organization: []string{name}, CommonName: name + " " + what}
}

// issue signs a certificate. Without a parent it is self-signed.
func issue(c, parent *x509.Certificate, pub *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	c.SerialNumber = serial.Add(serial, big.NewInt(1))
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
