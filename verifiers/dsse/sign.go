package dsse

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Sign returns the envelope of a payload with one signature by a key, as
// CheckSignature expects it first: ECDSA with the usual hash for the curve, RSA
// with PKCS #1 v1.5 and SHA-256. The error wraps ErrMalformed if signatures by
// the key cannot be verified.
func Sign(payloadType string, payload []byte, key crypto.Signer) ([]byte, error) {
	k, err := NewKey("", key.Public())
	if err != nil {
		return nil, err
	}
	sig, err := SignMessage(NewMessage(sslib.PAE(payloadType, payload)), key)
	if err != nil {
		return nil, fmt.Errorf("sign with the key %s: %w", k.ID, err)
	}
	return json.Marshal(&sslib.Envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []sslib.Signature{{KeyID: k.ID, Sig: base64.StdEncoding.EncodeToString(sig)}},
	})
}

// SignMessage returns a signature of the message by the key.
func SignMessage(m *Message, key crypto.Signer) ([]byte, error) {
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return key.Sign(rand.Reader, m.Text, crypto.Hash(0))
	}
	hash := crypto.SHA256
	if public, ok := key.Public().(*ecdsa.PublicKey); ok {
		hash = hashes(public)[0]
	}
	return key.Sign(rand.Reader, m.Digests[hash], hash)
}
