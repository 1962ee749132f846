package format

import (
	"bytes"
	"errors"
	"time"

	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/helm"
)

// isProvenance looks for the PGP message at any offset, because parsers skip
// text before it.
func isProvenance(payload []byte, claimed string) bool {
	if !bytes.Contains(payload, helm.Begin) {
		return false
	}
	_, err := helm.Parse(payload)
	return err == nil || claimed == ""
}

func readProvenance(payload []byte) (*evidence.Document, error) {
	p, err := helm.Parse(payload)
	if err != nil {
		return nil, err
	}
	return &evidence.Document{Subjects: p.Subjects(), Attributes: map[string]string{"chart": p.Chart, "version": p.Version}, Signed: provenance(payload)}, nil
}

// A provenance file implements evidence.Signed.
type provenance []byte

func (provenance) Format() string { return "helm" }

// pgpCost is the cost in microseconds of verifying with one keyring.
const pgpCost = 1000

func (s provenance) Verify(by *evidence.Signer, charge evidence.Charge) (*evidence.Proof, error) {
	if by.PGP == nil {
		return nil, errors.New("a chart's provenance file is signed with PGP, but the signer has no PGP keys")
	}
	if err := charge(pgpCost + len(s)/evidence.HashedPerMicrosecond); err != nil {
		return nil, err
	}
	p, err := by.PGP.Verify(s)
	if err != nil {
		return nil, err
	}
	proof := evidence.Verified("signed "+p.SignedAt.Format(time.RFC3339)+" by the signer's clock", p.Signer())
	proof.Chart = p
	return proof, nil
}

func (s provenance) Judge(t *evidence.Trust, charge evidence.Charge) *evidence.Proof {
	why := evidence.Unverified("signed with PGP, but the policy has no PGP keys")
	for _, keyring := range t.PGP {
		p, err := s.Verify(&evidence.Signer{PGP: keyring}, charge)
		if err == nil {
			return p
		}
		why = evidence.Unverified("not signed with any of the policy's PGP keys")
		if keyring.Knows(s) {
			return evidence.Failed("%s", err)
		}
	}
	return why
}
