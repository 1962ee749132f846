package format

import (
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/intoto"
)

func readEnvelope(payload []byte) (*evidence.Document, error) {
	e, err := dsse.Parse(payload)
	if err != nil {
		return nil, err
	}
	d := &evidence.Document{Signers: e.Signers, Signed: envelope{e}}
	if d.Statement, d.Unread, err = intoto.ReadSigned(e.PayloadType, e.Payload); err != nil {
		return nil, plain.Malformed(dsse.ErrMalformed, "DSSE envelope", err)
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
	p.KeyName, p.Envelope = r.SignedBy[0].Name, r
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
