package dsse

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
)

// Accepted sizes of RSA keys in bits. Smaller keys are weak, larger ones slow.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// A Key is the public key of a signer.
type Key struct {
	ID   string // "sha256:" and the hexadecimal hash of the DER form of its SubjectPublicKeyInfo
	Name string // chosen by the caller; can be empty

	public crypto.PublicKey
}

// String returns the name and the ID for use in messages.
func (k *Key) String() string {
	if k.Name == "" {
		return k.ID
	}
	return k.Name + " (" + k.ID + ")"
}

// Public returns the key as an ed25519.PublicKey, *ecdsa.PublicKey or
// *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// PEM returns the key's SubjectPublicKeyInfo as one PEM block.
func (k *Key) PEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParseKey reads one public key in PEM: a SubjectPublicKeyInfo (such as
// cosign.pub), a PKCS #1 RSA key, or an X.509 certificate. Only the
// certificate's key is used. Its validity period and issuer are not checked.
// The error wraps ErrMalformed.
func ParseKey(name string, text []byte) (*Key, error) {
	public, err := pemfile.PublicKeyOrCertificate(text)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, keyWord(name), err)
	}
	return NewKey(name, public)
}

// NewKey returns the Key for a public key of the standard library's types. The
// error wraps ErrMalformed.
func NewKey(name string, public crypto.PublicKey) (*Key, error) {
	if err := checkType(public); err != nil {
		return nil, plain.Malformed(ErrMalformed, keyWord(name), err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, keyWord(name), err)
	}
	return &Key{ID: entry.SHA256(der), Name: name, public: public}, nil
}

func keyWord(name string) string {
	if name == "" {
		return "public key"
	}
	return "public key " + name
}

// checkType returns an error if signatures by the key cannot be verified.
func checkType(public crypto.PublicKey) error {
	switch k := public.(type) {
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key of %d bytes", len(k))
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fmt.Errorf("an ECDSA key on %s; only P-256, P-384 and P-521 are supported", k.Curve.Params().Name)
		}
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits; it must have %d to %d", bits, minRSABits, maxRSABits)
		}
		return nil
	default:
		return errors.New("keys of this type are not supported: use Ed25519, ECDSA P-256, P-384 or P-521, or RSA")
	}
}

// named reports whether a signature's key ID names the key. The ID is an
// unsigned hint and only determines the order of attempts.
func (k *Key) named(id string) bool {
	return id != "" && (id == k.ID || id == strings.TrimPrefix(k.ID, "sha256:"))
}

// plausible reports whether the signature's length is possible for the key.
func (k *Key) plausible(sig []byte) bool {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return len(sig) == ed25519.SignatureSize
	case *ecdsa.PublicKey:
		// two integers, and their ASN.1 headers
		return len(sig) <= 2*((public.Curve.Params().BitSize+7)/8)+16
	case *rsa.PublicKey:
		return len(sig) == public.Size()
	}
	return false
}

// cost returns the approximate time in microseconds to verify one signature
// with all three hashes.
func (k *Key) cost() int {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return 3 * 80
		case elliptic.P384():
			return 3 * 800
		default:
			return 3 * 2000
		}
	case *rsa.PublicKey:
		n := public.Size()
		return 3 * 80 * n * n / (256 * 256) // with both paddings
	}
	return 2 * 80
}

// Cost returns the approximate time to try one signature with each key, in
// microseconds.
func Cost(keys []*Key) (microseconds int) {
	for _, k := range keys {
		microseconds += k.cost()
	}
	return microseconds
}
