package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
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

var digestHashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// check returns an error if a signature by the key cannot prove the digest. The
// signature does not cover the choice of hash. ECDSA truncates a digest that is
// longer than the curve and reads a shorter one as a number, so the truncated
// part and leading zeros would not be checked.
func (d *messageDigest) check(public crypto.PublicKey) error {
	h, known := digestHashes[d.algorithm]
	k, ec := public.(*ecdsa.PublicKey)
	switch {
	case ec && known && h.Size()*8 > k.Curve.Params().BitSize:
		return fmt.Errorf("messageSignature.messageDigest: %w: a digest of %s is longer than the curve %s", dsse.ErrUnsupported, d.algorithm, k.Curve.Params().Name)
	case ec && bytes.HasPrefix(d.value, make([]byte, 16)):
		return errors.New("messageSignature.messageDigest: it begins with zeros, as a shorter digest would")
	case !known:
		return fmt.Errorf("messageSignature.messageDigest: %w: over a digest of %s", dsse.ErrUnsupported, d.algorithm)
	case len(d.value) != h.Size():
		return errors.New("messageSignature.messageDigest: not a SHA-2 digest of its size")
	}
	return nil
}

// message returns the digest as the signed message.
func (d *messageDigest) message() *dsse.Message {
	return &dsse.Message{Digests: map[crypto.Hash][]byte{digestHashes[d.algorithm]: d.value}}
}

// signedBy returns the key that signed the bundle. The bundle's hint is
// unsigned, so each key is tried. The remaining verification is done only for
// the key that it returns.
func (b *Bundle) signedBy(keys []*dsse.Key, a *Artifact) (*dsse.Key, error) {
	var message *dsse.Message
	if b.digest == nil {
		if n := len(b.entity.GetDsseEnvelope().GetSignatures()); n != 1 {
			return nil, fmt.Errorf("the envelope has %d signatures; in a bundle it has exactly one", n)
		}
		message = dsse.NewMessage(sslib.PAE(b.PayloadType, b.Payload))
	}
	sig := b.entity.content.Signature()
	checked := false
	var last, unread, unsupported error
	for _, k := range hinted(keys, b.hint()) {
		v := &keyVerifier{k.Public(), a.message}
		if message != nil {
			last = dsse.CheckSignature(k.Public(), message, sig)
		} else if last = b.digest.check(k.Public()); last == nil {
			last = v.overDigest(sig, b.digest.message())
		}
		var failed *readError
		switch {
		case last == nil:
			return k, nil
		case errors.As(last, &failed):
			return nil, last
		case errors.Is(last, errContent):
			unread = last
		case errors.Is(last, dsse.ErrUnsupported):
			unsupported = last
		default:
			checked = true
		}
	}
	switch {
	case unread != nil:
		return nil, unread
	case unsupported != nil && !checked:
		return nil, unsupported
	case len(keys) > 1:
		return nil, fmt.Errorf("it was signed with none of the %d keys given, or changed since", len(keys))
	case errors.Is(last, dsse.ErrWrongSignature):
		return nil, fmt.Errorf("it was not signed with the key %s, or changed since", keys[0])
	default:
		return nil, last
	}
}

// hinted moves the key named by the bundle's hint to the front.
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

// trusting returns trusted material in which only this key verifies signatures.
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

// A keyVerifier accepts every form of signature that a key can make. A key does
// not determine whether RSA uses PSS, or Ed25519 is Ed25519ph.
type keyVerifier struct {
	public  crypto.PublicKey
	content func() ([]byte, error) // of the artifact of a bare signature
}

func (v *keyVerifier) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return v.public, nil
}

// VerifySignature is called with the message, which is an envelope's
// pre-authentication encoding, or with a digest among the options.
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
		return v.overDigest(s, messageOf(digest))
	}
	m, err := bounded.ReadAll(message, MaxBundleSize+maxSignedContent)
	if err != nil {
		return err
	}
	return dsse.CheckSignature(v.public, dsse.NewMessage(m), s)
}

// messageOf returns the message with a digest, whose length determines its
// algorithm.
func messageOf(digest []byte) *dsse.Message {
	for _, h := range digestHashes {
		if h.Size() == len(digest) {
			return &dsse.Message{Digests: map[crypto.Hash][]byte{h: digest}}
		}
	}
	return &dsse.Message{}
}

// overDigest checks a bare signature over a digest. Pure Ed25519 signs the
// artifact itself.
func (v *keyVerifier) overDigest(sig []byte, m *dsse.Message) error {
	err := dsse.CheckSignature(v.public, m, sig)
	if _, ok := v.public.(ed25519.PublicKey); err == nil || !ok || errors.Is(err, dsse.ErrUnsupported) {
		return err
	}
	text, err := v.content()
	if err != nil {
		return err
	}
	return dsse.CheckSignature(v.public, &dsse.Message{Text: text}, sig)
}
