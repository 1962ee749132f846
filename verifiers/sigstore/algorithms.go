package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/verifiers/dsse"
)

// An algorithm is a row of section 4 of docs/spec/sigstore-verification.md.
type algorithm struct {
	details string        // Sigstore's name of the key's type in Rekor v2
	hashes  []crypto.Hash // the first one is the usual one; none for Ed25519
}

var (
	p256Algorithm    = algorithm{"PKIX_ECDSA_P256_SHA_256", []crypto.Hash{crypto.SHA256}}
	p384Algorithm    = algorithm{"PKIX_ECDSA_P384_SHA_384", []crypto.Hash{crypto.SHA384, crypto.SHA256}}
	p521Algorithm    = algorithm{"PKIX_ECDSA_P521_SHA_512", []crypto.Hash{crypto.SHA512, crypto.SHA256}}
	ed25519Algorithm = algorithm{}
)

// algorithmOf returns the algorithm of a key.
func algorithmOf(public crypto.PublicKey) (algorithm, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return p256Algorithm, nil
		case elliptic.P384():
			return p384Algorithm, nil
		case elliptic.P521():
			return p521Algorithm, nil
		}
	case ed25519.PublicKey:
		return ed25519Algorithm, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n == 2048 || n == 3072 || n == 4096 {
			return algorithm{fmt.Sprintf("PKIX_RSA_PKCS1V15_%d_SHA256", n), []crypto.Hash{crypto.SHA256}}, nil
		}
	}
	return algorithm{}, errors.New("the key's type is not supported")
}

// isAuthorityKey reports whether authorities can have the key. They can have
// RSA keys of any size.
func isAuthorityKey(public crypto.PublicKey) bool {
	if _, ok := public.(*rsa.PublicKey); ok {
		return true
	}
	_, err := algorithmOf(public)
	return err == nil
}

// CheckKey returns an error unless the key is of a type of section 4 of
// docs/spec/sigstore-verification.md.
func CheckKey(k *dsse.Key) error {
	_, err := algorithmOf(k.Public())
	return err
}

// SignedEnvelope reports whether the key signed a DSSE envelope with the
// payload in a form of section 4 of docs/spec/sigstore-verification.md. Unlike
// package dsse, it accepts no other forms.
func SignedEnvelope(k *dsse.Key, payloadType string, payload, signature []byte) bool {
	alg, err := algorithmOf(k.Public())
	if err != nil {
		return false
	}
	message := sslib.PAE(payloadType, payload)
	if alg.hashes == nil {
		return signedBy(k.Public(), 0, message, signature)
	}
	return slices.ContainsFunc(alg.hashes, func(h crypto.Hash) bool { return signedBy(k.Public(), h, message, signature) })
}

// hashesFor returns the hashes of signatures by the key. The hash 0 stands for
// pure Ed25519.
func hashesFor(public crypto.PublicKey, b *bundleDocument) ([]crypto.Hash, error) {
	alg, err := algorithmOf(public)
	switch {
	case err != nil:
		return nil, err
	case alg.hashes == nil && b.bare():
		return nil, errors.New("bare signatures by Ed25519 keys are not supported: use an envelope")
	case alg.hashes == nil:
		return []crypto.Hash{0}, nil
	case !b.bare():
		return alg.hashes, nil
	}
	h := hashNames[b.digestAlgorithm]
	if !slices.Contains(alg.hashes, h) {
		return nil, fmt.Errorf("signatures over %s are not supported for this key", h)
	}
	return []crypto.Hash{h}, nil
}

// signedBy reports whether the key signed the message.
func signedBy(public crypto.PublicKey, h crypto.Hash, message, signature []byte) bool {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return h != 0 && ecdsa.VerifyASN1(k, sum(h, message), signature)
	case *rsa.PublicKey:
		return h != 0 && rsa.VerifyPKCS1v15(k, h, sum(h, message), signature) == nil
	case ed25519.PublicKey:
		return h == 0 && ed25519.Verify(k, message, signature)
	}
	return false
}
