// Package pemfile reads keys and certificates in PEM (RFC 7468).
//
// No other package decodes PEM, which a test enforces, so that the same rules
// apply to every key file. Text around the blocks, byte order marks and the
// parameters that openssl writes before a key are skipped, and any line ending
// is accepted. Errors name the type of the file. They never contain its text,
// which can be a secret.
package pemfile

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/charset"
)

// MaxBlocks is the largest number of blocks in a file.
const MaxBlocks = 4096

// A kind is the type of a block's contents.
type kind int

const (
	other kind = iota
	parameters
	certificate
	publicKey
	privateKey
	encryptedKey
	opensshKey
)

// kinds maps the labels of blocks to their kinds.
var kinds = map[string]struct {
	kind kind
	name string
}{
	"EC PARAMETERS":                  {parameters, "parameters of a key"},
	"DSA PARAMETERS":                 {parameters, "parameters of a key"},
	"DH PARAMETERS":                  {parameters, "parameters of a key"},
	"CERTIFICATE":                    {certificate, "a certificate"},
	"X509 CERTIFICATE":               {certificate, "a certificate"},
	"PUBLIC KEY":                     {publicKey, "a public key"},
	"RSA PUBLIC KEY":                 {publicKey, "a public key"},
	"PRIVATE KEY":                    {privateKey, "a private key"},
	"EC PRIVATE KEY":                 {privateKey, "a private key"},
	"RSA PRIVATE KEY":                {privateKey, "a private key"},
	"ENCRYPTED PRIVATE KEY":          {encryptedKey, "an encrypted private key"},
	"ENCRYPTED SIGSTORE PRIVATE KEY": {encryptedKey, "an encrypted private key"},
	"ENCRYPTED COSIGN PRIVATE KEY":   {encryptedKey, "an encrypted private key"},
	"OPENSSH PRIVATE KEY":            {opensshKey, "a private key in OpenSSH's format"},
	"DSA PRIVATE KEY":                {other, "a private key of an unsupported type"},
	"CERTIFICATE REQUEST":            {other, "a certificate request"},
	"PGP PUBLIC KEY BLOCK":           {other, "an OpenPGP key"},
	"PGP PRIVATE KEY BLOCK":          {other, "an OpenPGP key"},
}

var (
	begin = []byte("-----BEGIN ")
	bom   = []byte("\xef\xbb\xbf")
)

// A block is a decoded block.
type block struct {
	kind     kind
	name     string
	typ      string
	contents []byte
}

// Is reports whether the data contains a PEM block, valid or not.
func Is(data []byte) bool {
	data = bytes.TrimPrefix(data, bom)
	return bytes.HasPrefix(data, begin) || bytes.Contains(data, append([]byte{'\n'}, begin...))
}

// read returns the blocks of a file, without those of parameters.
func read(data []byte) ([]block, error) {
	if encoding := charset.Of(data, "-"); encoding != "" && encoding != charset.UTF8BOM {
		return nil, fmt.Errorf("it is encoded in %s: convert it to UTF-8", encoding)
	}
	data = bytes.TrimPrefix(data, bom)
	begun := 0
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, begin) {
			begun++
		}
	}
	if begun > MaxBlocks {
		return nil, fmt.Errorf("more than %d PEM blocks", MaxBlocks)
	}
	var blocks []block
	read := 0
	for p, rest := pem.Decode(data); p != nil; p, rest = pem.Decode(rest) {
		read++
		b := block{typ: p.Type, contents: p.Bytes, name: "a PEM block of an unknown type"}
		if k, ok := kinds[p.Type]; ok {
			b.kind, b.name = k.kind, k.name
		} else if strings.HasSuffix(p.Type, "PRIVATE KEY") {
			b.name = "a private key of an unsupported type"
		}
		if strings.Contains(p.Headers["Proc-Type"], "ENCRYPTED") {
			b.kind, b.name = encryptedKey, "an encrypted private key"
		}
		if b.kind != parameters {
			blocks = append(blocks, b)
		}
	}
	switch {
	case read < begun:
		return nil, errors.New("a PEM block is damaged or not complete")
	case len(blocks) == 0 && read > 0:
		return nil, errors.New("it contains the parameters of a key, but no key")
	case len(blocks) == 0:
		return nil, errors.New("not PEM: it has no line that begins with -----BEGIN")
	}
	return blocks, nil
}

// PrivateKey reads one private key: PKCS #8, SEC 1 or PKCS #1. Certificates
// beside it are skipped.
func PrivateKey(data []byte) (crypto.Signer, error) {
	blocks, err := read(data)
	if err != nil {
		return nil, err
	}
	var key *block
	for i := range blocks {
		switch b := &blocks[i]; {
		case b.kind == certificate:
		case key != nil:
			return nil, errors.New("it contains more than one key: give each a file of its own")
		default:
			key = b
		}
	}
	switch {
	case key == nil:
		return nil, errors.New("it is a certificate: give the private key")
	case key.kind == encryptedKey:
		return nil, errors.New("it is an encrypted private key: decrypt it, such as with openssl pkey")
	case key.kind == opensshKey:
		return nil, errors.New("it is a private key in OpenSSH's format: convert it with ssh-keygen -p -m PKCS8")
	case key.kind != privateKey:
		return nil, fmt.Errorf("it is %s: give a private key", key.name)
	}
	return parsePrivate(key)
}

// parsePrivate drops the causes of errors, which could contain parts of the
// key.
func parsePrivate(b *block) (crypto.Signer, error) {
	var key any
	var err error
	switch b.typ {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.contents)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.contents)
	default:
		if key, err = x509.ParsePKCS8PrivateKey(b.contents); err != nil {
			key, err = x509.ParseECPrivateKey(b.contents) // some programs mislabel it
		}
	}
	if err != nil {
		return nil, errors.New("a private key that is neither PKCS #8, SEC 1 nor PKCS #1, or that is damaged")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("a private key that cannot sign: use ECDSA, Ed25519 or RSA")
	}
	return signer, nil
}

// PublicKey reads one public key: a SubjectPublicKeyInfo or a PKCS #1 RSA key.
func PublicKey(data []byte) (crypto.PublicKey, error) {
	b, err := one(data)
	if err != nil {
		return nil, err
	}
	if b.kind == certificate {
		return nil, errors.New("it is a certificate: give the public key, such as from openssl x509 -pubkey")
	}
	return parsePublic(b)
}

// PublicKeyOrCertificate reads a public key, as PublicKey does, or the key of
// one certificate, whose dates and issuer it does not check.
func PublicKeyOrCertificate(data []byte) (crypto.PublicKey, error) {
	b, err := one(data)
	if err != nil {
		return nil, err
	}
	if b.kind == certificate {
		c, err := x509.ParseCertificate(b.contents)
		if err != nil {
			return nil, errors.New("a certificate that cannot be parsed")
		}
		return c.PublicKey, nil
	}
	return parsePublic(b)
}

// SubjectPublicKeyInfo returns the DER of one public key, unchanged.
func SubjectPublicKeyInfo(data []byte) ([]byte, error) {
	if _, err := PublicKey(data); err != nil {
		return nil, err
	}
	b, err := one(data)
	if err == nil && b.typ != "PUBLIC KEY" {
		err = errors.New("not a SubjectPublicKeyInfo, which begins with -----BEGIN PUBLIC KEY-----")
	}
	if err != nil {
		return nil, err
	}
	return b.contents, nil
}

func one(data []byte) (*block, error) {
	blocks, err := read(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) > 1 {
		return nil, errors.New("more than one PEM block: give each key a file of its own")
	}
	return &blocks[0], nil
}

func parsePublic(b *block) (key crypto.PublicKey, err error) {
	switch {
	case b.kind != publicKey && strings.Contains(b.name, "private key"):
		return nil, fmt.Errorf("it is %s: give the public one", b.name)
	case b.kind != publicKey:
		return nil, fmt.Errorf("it is %s: give a public key", b.name)
	case b.typ == "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(b.contents)
	default:
		key, err = x509.ParsePKIXPublicKey(b.contents)
	}
	if err != nil {
		return nil, errors.New("a public key of an unsupported type, or one that is damaged")
	}
	return key, nil
}

// Certificates reads a chain of one or more certificates. It refuses text after
// the last one, which could be the rest of a truncated chain.
func Certificates(data []byte) ([]*x509.Certificate, error) {
	certs, err := certificates(data)
	if err != nil {
		return nil, err
	}
	last := bytes.LastIndex(data, []byte("-----END "))
	if _, rest, _ := bytes.Cut(data[last:], []byte("\n")); last >= 0 && len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("text after the last certificate: remove it")
	}
	return certs, nil
}

func certificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := read(data)
	if err != nil {
		return nil, err
	}
	certs := make([]*x509.Certificate, len(blocks))
	for i, b := range blocks {
		if b.kind != certificate {
			return nil, fmt.Errorf("it contains %s: give certificates only", b.name)
		}
		if certs[i], err = x509.ParseCertificate(b.contents); err != nil {
			return nil, fmt.Errorf("certificate %d cannot be parsed: %w", i, err)
		}
	}
	return certs, nil
}

// Pool reads certificates of authorities.
func Pool(data []byte) (*x509.CertPool, error) {
	certs, err := certificates(data)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// KeyPair reads a private key and its certificate with the chain. The file of
// the certificates can contain other blocks.
func KeyPair(cert, key []byte) (tls.Certificate, error) {
	var none tls.Certificate
	blocks, err := read(cert)
	if err != nil {
		return none, fmt.Errorf("certificate: %w", err)
	}
	var pair tls.Certificate
	for _, b := range blocks {
		if b.kind == certificate {
			pair.Certificate = append(pair.Certificate, b.contents)
		}
	}
	if len(pair.Certificate) == 0 {
		return none, fmt.Errorf("certificate: it is %s: give a certificate", blocks[0].name)
	}
	if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return none, fmt.Errorf("certificate: %w", err)
	}
	signer, err := PrivateKey(key)
	if err != nil {
		return none, fmt.Errorf("private key: %w", err)
	}
	if p, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !p.Equal(pair.Leaf.PublicKey) {
		return none, errors.New("the private key does not belong to the certificate, which must be the first in its file")
	}
	pair.PrivateKey = signer
	return pair, nil
}
