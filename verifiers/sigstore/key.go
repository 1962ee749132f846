package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/verifiers/dsse"
)

// hashesOf names the hashes that signatures by the key may be over: those of Sigstore's algorithm registry
// (https://github.com/sigstore/architecture-docs/blob/main/algorithm-registry.md), and SHA-256 with the larger curves, as older clients have it.
// Nothing in a bare signature says which hash it is over, so that a bundle could claim any.
func hashesOf(public crypto.PublicKey) []string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			return []string{"sha384", "sha256"}
		case elliptic.P521():
			return []string{"sha512", "sha256"}
		}
		return []string{"sha256"}
	case ed25519.PublicKey:
		return []string{"sha512"}
	default:
		return []string{"sha256"}
	}
}

var digestSizes = map[string]int{"sha256": sha256.Size, "sha384": sha512.Size384, "sha512": sha512.Size}

// check returns an error if no signature by the key can be over such a digest.
func (d *messageDigest) check(public crypto.PublicKey) error {
	if len(d.value) != digestSizes[d.algorithm] {
		return errors.New("messageSignature.messageDigest: not a SHA-2 digest of its size")
	}
	_, pure := public.(ed25519.PublicKey) // over the artifact itself; the digest is only beside it
	if !pure && !slices.Contains(hashesOf(public), d.algorithm) {
		return errors.New("messageSignature.messageDigest: signatures by such a key are not over a " + d.algorithm + " digest")
	}
	return nil
}

// signedBy finds the key that the bundle was signed with: the bundle need not say so truly. Only that one is worth the rest of the work.
func (b *Bundle) signedBy(keys []*dsse.Key, a *Artifact) (*dsse.Key, error) {
	var message *signedMessage
	if b.digest == nil {
		if n := len(b.entity.GetDsseEnvelope().GetSignatures()); n != 1 {
			return nil, fmt.Errorf("the envelope has %d signatures; in a bundle it has exactly one", n)
		}
		message = hashed(sslib.PAE(b.PayloadType, b.Payload))
	}
	sig := b.entity.content.Signature()
	var last, unread error
	for _, k := range hinted(keys, b.hint()) {
		v := &keyVerifier{k.Public(), a.message}
		if message != nil {
			last = v.overMessage(sig, message)
		} else if last = b.digest.check(k.Public()); last == nil {
			last = v.overDigest(sig, b.digest.value)
		}
		var failed *readError
		switch {
		case last == nil:
			return k, nil
		case errors.As(last, &failed):
			return nil, last
		case errors.Is(last, errContent):
			unread = last
		}
	}
	switch {
	case unread != nil:
		return nil, unread
	case len(keys) > 1:
		return nil, fmt.Errorf("it was signed with none of the %d keys given, or changed since", len(keys))
	case errors.Is(last, errSignature):
		return nil, fmt.Errorf("it was not signed with the key %s, or changed since", keys[0])
	default:
		return nil, last
	}
}

// hinted moves the key that the bundle's hint may mean to the front.
func hinted(keys []*dsse.Key, hint string) []*dsse.Key {
	keys = slices.Clone(keys)
	slices.SortStableFunc(keys, func(a, b *dsse.Key) int {
		switch am, bm := meant(a, hint), meant(b, hint); {
		case am && !bm:
			return -1
		case bm && !am:
			return 1
		default:
			return 0
		}
	})
	return keys
}

func meant(k *dsse.Key, hint string) bool {
	digits := strings.TrimPrefix(k.ID, "sha256:")
	sum, err := hex.DecodeString(digits)
	return err == nil && (hint == base64.StdEncoding.EncodeToString(sum) || hint == digits || hint == k.ID)
}

// trusting is the trusted material of which only the key counts for signatures.
func trusting(k *dsse.Key, material root.TrustedMaterial, content func() ([]byte, error)) root.TrustedMaterial {
	always := root.NewExpiringKey(&keyVerifier{k.Public(), content}, time.Time{}, time.Time{})
	key := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return always, nil })
	return &keyMaterial{material, key}
}

type keyMaterial struct {
	root.TrustedMaterial
	key *root.TrustedPublicKeyMaterial
}

func (m *keyMaterial) PublicKeyVerifier(id string) (root.TimeConstrainedVerifier, error) {
	return m.key.PublicKeyVerifier(id)
}

var errSignature = errors.New("the signature is not by the key")

// A keyVerifier checks signatures by a key whose signatures may have more than one form: a key does not say whether RSA is PSS, or Ed25519 is ph.
type keyVerifier struct {
	public  crypto.PublicKey
	content func() ([]byte, error) // of the artifact of a bare signature
}

func (v *keyVerifier) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return v.public, nil
}

// VerifySignature is called with the message, which is an envelope's pre-authentication encoding, or with the option of a digest.
func (v *keyVerifier) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := bounded.ReadAll(sig, MaxBundleSize)
	if err != nil {
		return err
	}
	var digest []byte
	for _, o := range opts {
		o.ApplyDigest(&digest)
	}
	if len(digest) > 0 {
		return v.overDigest(s, digest)
	}
	m, err := bounded.ReadAll(message, MaxBundleSize+maxSignedContent)
	if err != nil {
		return err
	}
	return v.overMessage(s, hashed(m))
}

// A signedMessage is the pre-authentication encoding of an envelope, with the hashes that keys sign.
type signedMessage struct {
	text   []byte
	hashes map[string][]byte
}

func hashed(text []byte) *signedMessage {
	s256, s384, s512 := sha256.Sum256(text), sha512.Sum384(text), sha512.Sum512(text)
	return &signedMessage{text, map[string][]byte{"sha256": s256[:], "sha384": s384[:], "sha512": s512[:]}}
}

func (v *keyVerifier) overMessage(sig []byte, m *signedMessage) error {
	if k, ok := v.public.(ed25519.PublicKey); ok && ed25519.Verify(k, m.text, sig) {
		return nil
	}
	for _, name := range hashesOf(v.public) {
		if v.signed(sig, m.hashes[name]) {
			return nil
		}
	}
	return errSignature
}

func (v *keyVerifier) overDigest(sig, digest []byte) error {
	k, ok := v.public.(ed25519.PublicKey)
	if v.signed(sig, digest) {
		return nil
	}
	if !ok {
		return errSignature
	}
	m, err := v.content()
	if err != nil {
		return err
	}
	if !ed25519.Verify(k, m, sig) {
		return errSignature
	}
	return nil
}

// signed says whether sig is a signature over a digest, which is as long as one of the key's hashes.
func (v *keyVerifier) signed(sig, digest []byte) bool {
	switch k := v.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest, sig) == nil || rsa.VerifyPSS(k, crypto.SHA256, digest, sig, nil) == nil
	case ed25519.PublicKey:
		return len(digest) == sha512.Size && ed25519.VerifyWithOptions(k, digest, sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
	default:
		return false
	}
}
