// Package dsse reads DSSE envelopes (https://github.com/secure-systems-lab/dsse/blob/master/envelope.md).
//
// It does not check signatures yet.
package dsse

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/ledger/receipt"
)

// MediaType is the media type of an envelope.
const MediaType = "application/vnd.dsse.envelope.v1+json"

// An Envelope is a parsed envelope.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signers     []receipt.Signer // key IDs that the signatures name; a hint that nothing has checked
}

// Parse reads an envelope. The error names the member that is wrong.
func Parse(data []byte) (*Envelope, error) {
	var raw sslib.Envelope
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("DSSE envelope: %w", err)
	}
	if raw.PayloadType == "" {
		return nil, errors.New("DSSE envelope: payloadType: missing")
	}
	payload, err := raw.DecodeB64Payload()
	if err != nil {
		return nil, errors.New("DSSE envelope: payload: not base64")
	}
	if len(raw.Signatures) == 0 {
		return nil, errors.New("DSSE envelope: signatures: missing")
	}
	e := &Envelope{PayloadType: raw.PayloadType, Payload: payload}
	for i, s := range raw.Signatures {
		if s.Sig == "" {
			return nil, fmt.Errorf("DSSE envelope: signatures[%d].sig: missing", i)
		}
		if s.KeyID != "" {
			e.Signers = append(e.Signers, receipt.Signer{KeyID: s.KeyID})
		}
	}
	return e, nil
}
