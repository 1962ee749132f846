package dsse

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// ErrUnsupported is wrapped by errors about signatures whose form or algorithm
// is not supported. Such a signature can be valid.
var ErrUnsupported = errors.New("unsupported signature")

// ErrWrongSignature reports that the key did not make the signature.
var ErrWrongSignature = errors.New("the signature is not by the key")

// A Message is a signed message. A bare signature does not name its hash, and
// signers disagree about it. For P-384 keys, Sigstore's registry
// (https://github.com/sigstore/architecture-docs/blob/main/algorithm-registry.md)
// specifies SHA-384, cosign uses SHA-256 with its own keys, and key management
// services offer all three. Each hash is therefore tried.
type Message struct {
	Text    []byte                 // nil if only a digest is known
	Digests map[crypto.Hash][]byte // one or more of SHA-256, SHA-384 and SHA-512
}

// NewMessage returns a message with all its digests.
func NewMessage(text []byte) *Message {
	s256, s384, s512 := sha256.Sum256(text), sha512.Sum384(text), sha512.Sum512(text)
	return &Message{text, map[crypto.Hash][]byte{crypto.SHA256: s256[:], crypto.SHA384: s384[:], crypto.SHA512: s512[:]}}
}

// hashes returns the hashes to try, starting with the usual one for the key.
func hashes(public crypto.PublicKey) []crypto.Hash {
	if k, ok := public.(*ecdsa.PublicKey); ok {
		switch k.Curve {
		case elliptic.P384():
			return []crypto.Hash{crypto.SHA384, crypto.SHA256, crypto.SHA512}
		case elliptic.P521():
			return []crypto.Hash{crypto.SHA512, crypto.SHA384, crypto.SHA256}
		}
	}
	return []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}
}

// CheckSignature returns nil if sig is a signature of the message by the key.
// An error that wraps ErrUnsupported is not a verdict.
func CheckSignature(public crypto.PublicKey, m *Message, sig []byte) error {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return checkEd25519(k, m, sig)
	case *ecdsa.PublicKey:
		return checkECDSA(k, m, sig)
	case *rsa.PublicKey:
		return checkRSA(k, m, sig)
	default:
		return fmt.Errorf("%w: the key is not an Ed25519, ECDSA or RSA key", ErrUnsupported)
	}
}

func checkEd25519(k ed25519.PublicKey, m *Message, sig []byte) error {
	digest := m.Digests[crypto.SHA512]
	switch {
	case len(sig) != ed25519.SignatureSize:
		return fmt.Errorf("%w: %d bytes; an Ed25519 signature has %d", ErrUnsupported, len(sig), ed25519.SignatureSize)
	case m.Text != nil && ed25519.Verify(k, m.Text, sig):
		return nil
	case digest != nil && ed25519.VerifyWithOptions(k, digest, sig, &ed25519.Options{Hash: crypto.SHA512}) == nil:
		return nil // Ed25519ph
	}
	return ErrWrongSignature
}

// checkECDSA accepts signatures in ASN.1 and as raw r‖s (IEEE P1363), which
// WebCrypto, Java's P1363 formats and PKCS #11 write.
func checkECDSA(k *ecdsa.PublicKey, m *Message, sig []byte) error {
	size := (k.Curve.Params().BitSize + 7) / 8
	var forms [][]byte
	if isDER(sig) {
		forms = append(forms, sig)
	}
	if len(sig) == 2*size {
		forms = append(forms, derOf(sig[:size], sig[size:]))
	}
	if len(forms) == 0 {
		return fmt.Errorf("%w: %d bytes that are neither an ASN.1 sequence nor the %d bytes of r and s", ErrUnsupported, len(sig), 2*size)
	}
	for _, h := range hashes(k) {
		for _, form := range forms {
			if d := m.Digests[h]; d != nil && ecdsa.VerifyASN1(k, d, form) {
				return nil
			}
		}
	}
	return ErrWrongSignature
}

// isDER reports whether the signature is an ASN.1 sequence. If its content is
// damaged, the signature is wrong rather than unsupported.
func isDER(sig []byte) bool {
	s := cryptobyte.String(sig)
	var inner cryptobyte.String
	return s.ReadASN1(&inner, asn1.SEQUENCE) && s.Empty()
}

func derOf(r, s []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(r))
		b.AddASN1BigInt(new(big.Int).SetBytes(s))
	})
	return b.BytesOrPanic() // two integers always fit
}

// checkRSA accepts both paddings. The salt of PSS can have any length.
func checkRSA(k *rsa.PublicKey, m *Message, sig []byte) error {
	if len(sig) != k.Size() {
		return fmt.Errorf("%w: %d bytes; a signature by this RSA key has %d", ErrUnsupported, len(sig), k.Size())
	}
	for _, h := range hashes(k) {
		d := m.Digests[h]
		if d != nil && (rsa.VerifyPKCS1v15(k, h, d, sig) == nil || rsa.VerifyPSS(k, h, d, sig, nil) == nil) {
			return nil
		}
	}
	return ErrWrongSignature
}
