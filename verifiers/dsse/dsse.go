// Package dsse verifies DSSE envelopes that were signed with raw keys
// (https://github.com/secure-systems-lab/dsse/blob/master/envelope.md).
//
// Identities in certificates, timestamps and log entries are the job of package
// sigstore. An envelope has no algorithm field, so the type of the key
// determines which signatures are accepted.
package dsse

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/boundedjson"
	"muniment.dev/muniment/verifiers/sniff"
)

// MediaType is the media type of an envelope.
const MediaType = "application/vnd.dsse.envelope.v1+json"

// MaxSignatures is the maximum number of signatures in an envelope. Each is
// tried with each key.
const MaxSignatures = 64

// MaxSize is the size limit of an envelope in bytes. An envelope contains the
// whole attestation.
const MaxSize = 256 << 20

// ErrMalformed is wrapped by errors about documents that are not envelopes, and
// about invalid keys.
var ErrMalformed = errors.New("malformed")

// An Envelope is a parsed envelope.
type Envelope struct {
	PayloadType string
	Payload     []byte
	// key IDs named by the signatures; unverified hints
	Signers []entry.Signer

	signatures [][]byte
	keyIDs     []string // as claimed by the signatures
	hashed     sync.Once
	signed     *Message
}

// KeyIDs returns the key IDs that the signatures claim, one for each. They are
// unverified hints, and can be empty.
func (e *Envelope) KeyIDs() []string { return e.keyIDs }

// message returns the signed message, which is hashed only once.
func (e *Envelope) message() *Message {
	e.hashed.Do(func() { e.signed = NewMessage(sslib.PAE(e.PayloadType, e.Payload)) })
	return e.signed
}

// Parse reads an envelope. The error wraps ErrMalformed and names the invalid
// member.
func Parse(data []byte) (*Envelope, error) {
	e, err := parse(data)
	if err != nil {
		if other := sniff.Explain(data); other != nil {
			err = other
		}
		return nil, plain.Malformed(ErrMalformed, "DSSE envelope", err)
	}
	return e, nil
}

func parse(data []byte) (*Envelope, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxSize)
	}
	var raw struct {
		PayloadType string     `json:"payloadType"`
		Payload     string     `json:"payload"`
		Signatures  signatures `json:"signatures"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	if raw.PayloadType == "" {
		return nil, errors.New("payloadType: missing")
	}
	payload, err := decodeBase64(raw.Payload)
	if err != nil {
		return nil, errors.New("payload: not base64")
	}
	switch {
	case len(raw.Signatures) == 0:
		return nil, errors.New("signatures: missing")
	case len(raw.Signatures) > MaxSignatures:
		return nil, fmt.Errorf("signatures: more than %d", MaxSignatures)
	}
	e := &Envelope{PayloadType: raw.PayloadType, Payload: payload}
	for i, s := range raw.Signatures {
		if s.Sig == "" {
			return nil, fmt.Errorf("signatures[%d].sig: missing", i)
		}
		sig, err := decodeBase64(s.Sig)
		if err != nil {
			return nil, fmt.Errorf("signatures[%d].sig: not base64", i)
		}
		e.signatures, e.keyIDs = append(e.signatures, sig), append(e.keyIDs, s.KeyID)
		if s.KeyID != "" {
			e.Signers = append(e.Signers, entry.Signer{KeyID: s.KeyID})
		}
	}
	return e, nil
}

// signatures reads its elements one by one, and at most one more than the
// limit.
type signatures []sslib.Signature

func (list *signatures) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return boundedjson.ReadArray(dec, MaxSignatures, (*[]sslib.Signature)(list))
}

// decodeBase64 accepts both alphabets, as the specification requires, with or
// without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if b, err := base64.RawStdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.RawURLEncoding.DecodeString(s)
}
