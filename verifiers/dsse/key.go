package dsse

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/plain"
)

// Sizes of RSA keys in bits: below the first they are weak, above the second
// only slow.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// A Key is a public key that may sign envelopes.
type Key struct {
	ID   string // "sha256:" and the hexadecimal hash of the DER form of its SubjectPublicKeyInfo
	Name string // what the caller calls it; may be empty

	public crypto.PublicKey
}

// String returns the name with the ID, for messages.
func (k *Key) String() string {
	if k.Name == "" {
		return k.ID
	}
	return k.Name + " (" + k.ID + ")"
}

// Public returns the key as the standard library has it: ed25519.PublicKey,
// *ecdsa.PublicKey or *rsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.public }

// ParseKey reads one public key in PEM form: a SubjectPublicKeyInfo (which is
// what cosign.pub holds), a PKCS #1 RSA key, or an X.509 certificate, of which
// only the key counts: neither its dates nor its issuer are checked. The error
// wraps ErrMalformed.
func ParseKey(name string, text []byte) (*Key, error) {
	public, err := pemfile.PublicKeyOrCertificate(text)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, keyWord(name), err)
	}
	return NewKey(name, public)
}

// NewKey makes a key of one of the standard library's. The error wraps
// ErrMalformed.
func NewKey(name string, public crypto.PublicKey) (*Key, error) {
	if err := checkType(public); err != nil {
		return nil, plain.Malformed(ErrMalformed, keyWord(name), err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, keyWord(name), err)
	}
	sum := sha256.Sum256(der)
	return &Key{ID: "sha256:" + hex.EncodeToString(sum[:]), Name: name, public: public}, nil
}

func keyWord(name string) string {
	if name == "" {
		return "public key"
	}
	return "public key " + name
}

// checkType reports whether signatures by the key can be verified.
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

// named reports whether a signature's key ID names the key. It is a hint that
// decides about the order of attempts alone.
func (k *Key) named(id string) bool {
	return id != "" && (id == k.ID || id == strings.TrimPrefix(k.ID, "sha256:"))
}

// plausible reports whether a signature by the key can have the length.
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

// cost is about how many microseconds an attempt to verify a signature takes,
// which tries three hashes.
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

// Cost is about how many microseconds it takes to try one signature with each
// of the keys.
func Cost(keys []*Key) (microseconds int) {
	for _, k := range keys {
		microseconds += k.cost()
	}
	return microseconds
}
