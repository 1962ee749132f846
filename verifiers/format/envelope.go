package format

import (
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
)

func readEnvelope(payload []byte) (*evidence.Document, error) {
	e, err := dsse.Parse(payload)
	if err != nil {
		return nil, err
	}
	d := &evidence.Document{Signers: e.Signers, Signed: envelope{e}}
	inner := shape.Of(e.Payload)
	switch {
	case inner&^shape.Statement != 0:
		return nil, errors.New("DSSE envelope: payload: must not be an envelope or bundle: submit the one that has the signatures")
	case e.PayloadType != intoto.MediaType && inner == shape.None:
		return d, nil // the payload is not a statement, whatever its type claims
	}
	d.Statement, err = intoto.Read(e.Payload)
	switch {
	case errors.Is(err, intoto.ErrOtherType):
		// such as a layout or a link, whose signatures are verified all the
		// same
		d.Unread = fmt.Errorf("payload: %w", err)
	case err != nil:
		return nil, fmt.Errorf("DSSE envelope: payload: %w", err)
	}
	return d, nil
}

// An envelope implements evidence.Signed.
type envelope struct{ e *dsse.Envelope }

func (envelope) Format() string { return "dsse" }

func (s envelope) Verify(by *evidence.Signer, charge evidence.Charge) (*evidence.Proof, error) {
	if err := by.KeysOnly("a bare DSSE envelope"); err != nil {
		return nil, err
	}
	r, err := s.e.VerifyWithin(charge, by.Keys, by.Threshold)
	if err != nil {
		return nil, err
	}
	p := evidence.Verified("", r.Signers()...)
	p.KeyName = r.SignedBy[0].Name
	return p, nil
}

func (s envelope) Judge(t *evidence.Trust, charge evidence.Charge) *evidence.Proof {
	return evidence.JudgeKeys(t, func(keys []*dsse.Key) ([]entry.Signer, error) {
		r, err := s.e.VerifyWithin(charge, keys, 1)
		if err != nil {
			return nil, err
		}
		return r.Signers(), nil
	}, func(k *dsse.Key) bool { return evidence.ClaimsKey(s.e.Signers, k) })
}
