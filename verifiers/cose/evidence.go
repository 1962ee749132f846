package cose

import (
	"bytes"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
)

// Recognize reports whether a document is a signed statement.
func Recognize(data []byte, _ string) bool {
	// A statement is a tagged item (RFC 8949, section 3.1). This test rejects
	// most other evidence without allocating an error.
	if len(data) == 0 || data[0]>>5 != 6 || len(data) > MaxSize {
		return false
	}
	_, err := Parse(data)
	return err == nil
}

// Read reads a signed statement, which must be in its registered form.
func Read(data []byte) (*evidence.Document, error) {
	s, err := Parse(data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(s.Bytes, data) {
		return nil, errors.New("the signed statement has an unprotected header or is not in the deterministic encoding: register it with 'muniment scitt register', which removes the header and re-encodes it")
	}
	d := &evidence.Document{Attributes: map[string]string{"issuer": s.Issuer, "subject": s.Subject}, Signed: signed{s}}
	if s.ContentType != "" {
		d.Attributes["contentType"] = s.ContentType
	}
	if s.KeyID != "" {
		d.Signers = []entry.Signer{{KeyID: s.KeyID}}
	}
	if s.Digest != nil {
		d.Subjects = []entry.Subject{*s.Digest}
	}
	return d, nil
}

// signed implements evidence.Signed.
type signed struct{ s *Statement }

func (signed) Format() string { return "cose" }

func (c signed) Verify(by *evidence.Signer, charge evidence.Charge) (*evidence.Proof, error) {
	if err := by.KeysOnly("a COSE statement"); err != nil {
		return nil, err
	}
	if by.Threshold > 1 {
		return nil, fmt.Errorf("a COSE statement has one signature, but the signer requires %d", by.Threshold)
	}
	k, err := c.try(by.Keys, charge)
	if err != nil {
		return nil, err
	}
	p := evidence.Verified("", entry.Signer{KeyID: k.ID})
	p.KeyName = k.Name
	return p, nil
}

func (c signed) Judge(t *evidence.Trust, charge evidence.Charge) *evidence.Proof {
	return evidence.JudgeKeys(t, func(keys []*dsse.Key) ([]entry.Signer, error) {
		k, err := c.try(keys, charge)
		if err != nil {
			return nil, err
		}
		return []entry.Signer{{KeyID: k.ID}}, nil
	}, func(*dsse.Key) bool { return false })
}

// try tries each key and returns the one that made the signature.
func (c signed) try(keys []*dsse.Key, charge evidence.Charge) (*dsse.Key, error) {
	if err := charge(evidence.CostOfKeys(keys, c.s.Bytes)); err != nil {
		return nil, err
	}
	return c.s.Verify(keys)
}
