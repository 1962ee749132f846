package cose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	gocose "github.com/veraison/go-cose"

	"muniment.dev/muniment/verifiers/dsse"
)

// A Draft is the content of a statement to be signed.
type Draft struct {
	Issuer, Subject string
	ContentType     string // of Payload
	Payload         []byte
	Hash            bool // sign a hash envelope: the SHA-256 of the payload replaces it
}

// Sign returns a signed statement. The key must be Ed25519, ECDSA P-256 or
// P-384, or RSA (PS256). The kid is the key's ID as defined in package dsse.
func Sign(key crypto.Signer, d Draft) ([]byte, error) {
	alg, err := algorithm(key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := gocose.NewSigner(alg, key)
	if err != nil {
		return nil, err
	}
	public, err := dsse.NewKey("", key.Public())
	if err != nil {
		return nil, err
	}
	kid, err := hex.DecodeString(strings.TrimPrefix(public.ID, "sha256:"))
	if err != nil {
		return nil, err
	}
	h := gocose.ProtectedHeader{
		gocose.HeaderLabelAlgorithm: alg, gocose.HeaderLabelKeyID: kid,
		gocose.HeaderLabelCWTClaims: map[any]any{claimIssuer: d.Issuer, claimSubject: d.Subject},
	}
	payload := d.Payload
	contentType := gocose.HeaderLabelContentType
	if d.Hash {
		sum := sha256.Sum256(payload)
		payload, contentType = sum[:], labelPayloadPreimage
		h[labelPayloadHashAlg] = algSHA256
	}
	if d.ContentType != "" {
		h[contentType] = d.ContentType
	}
	data, err := gocose.Sign1(rand.Reader, signer, gocose.Headers{Protected: h}, payload, nil)
	if err != nil {
		return nil, fmt.Errorf("sign the statement: %w", err)
	}
	s, err := Parse(data) // everything signed here must parse
	if err != nil {
		return nil, err
	}
	return s.Bytes, nil
}

func algorithm(public crypto.PublicKey) (gocose.Algorithm, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return gocose.AlgorithmEdDSA, nil
	case *rsa.PublicKey:
		return gocose.AlgorithmPS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return gocose.AlgorithmES256, nil
		case elliptic.P384():
			return gocose.AlgorithmES384, nil
		}
	}
	return 0, errors.New("key type not supported: use Ed25519, ECDSA P-256 or P-384, or RSA")
}
