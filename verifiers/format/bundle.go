package format

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/sigstore"
)

func readBundle(payload []byte) (*evidence.Document, error) {
	b, err := sigstore.Parse(payload)
	if err != nil {
		return nil, err
	}
	d := &evidence.Document{MediaType: b.MediaType, Subjects: b.Subjects, Signers: b.Signers, Statement: b.Statement, Signed: bundle{b}}
	if b.Unread != nil {
		d.Unread = fmt.Errorf("dsseEnvelope.%w", b.Unread)
	}
	return d, nil
}

// A bundle implements evidence.Signed.
type bundle struct{ b *sigstore.Bundle }

func (bundle) Format() string { return "sigstore" }

// certificateCost is the cost of verifying a bundle with a certificate, log
// entries and timestamps, in microseconds.
const certificateCost = 5000

func (s bundle) certificateCost() int {
	return certificateCost + len(s.b.Payload)/evidence.HashedPerMicrosecond
}

func (s bundle) Verify(by *evidence.Signer, charge evidence.Charge) (*evidence.Proof, error) {
	if err := s.suits(by); err != nil {
		return nil, fmt.Errorf("%w: %w", sigstore.ErrNotVerified, err)
	}
	v, err := s.verifier(by, charge)
	if err != nil {
		return nil, err
	}
	out, err := v.Verify(s.b, by.Artifact)
	if err == nil && len(by.Keys) == 0 {
		err = by.Identity.Check(out.Signer)
	}
	if err != nil {
		return nil, err
	}
	return proofOf(out), nil
}

// suits returns an error if the signer cannot have made a signature of the
// bundle's kind.
func (s bundle) suits(by *evidence.Signer) error {
	if by.PGP != nil {
		return errors.New("a Sigstore bundle is not signed with PGP")
	}
	if err := s.b.CheckMaterial(len(by.Keys) > 0); err != nil {
		return err
	}
	if by.Threshold > 1 {
		return fmt.Errorf("a bundle has one signature, but the signer requires %d", by.Threshold)
	}
	return nil
}

// verifier returns the verifier for a signer and charges for its use.
func (s bundle) verifier(by *evidence.Signer, charge evidence.Charge) (*sigstore.Verifier, error) {
	var trusted *sigstore.TrustedRoot
	if len(by.Keys) == 0 || by.Need.LogEntries != sigstore.None || by.Need.Timestamps != sigstore.None {
		var err error
		if trusted, err = by.Root.Use(); err != nil {
			return nil, err
		}
	}
	if err := charge(s.comparisonCost(by)); err != nil {
		return nil, err
	}
	if len(by.Keys) > 0 {
		if err := charge(evidence.CostOfKeys(by.Keys, s.b.Payload)); err != nil {
			return nil, err
		}
		return sigstore.NewKeyVerifier(by.Keys, trusted, by.Need)
	}
	// Compare the identity first, because that is cheap and rules out most
	// signers.
	if !slices.ContainsFunc(s.b.Signers, func(claimed entry.Signer) bool { return by.Identity.Check(claimed) == nil }) {
		claimed := entry.Signer{}
		if len(s.b.Signers) > 0 {
			claimed = s.b.Signers[0]
		}
		return nil, by.Identity.Check(claimed)
	}
	v, err := sigstore.NewCertificateVerifier(trusted, by.Need)
	if err != nil {
		return nil, err
	}
	return v, charge(len(trusted.Each()) * s.certificateCost())
}

// comparedPerMicrosecond is the number of bytes per microsecond in a plain text
// comparison.
const comparedPerMicrosecond = 160

// comparisonCost returns the cost in microseconds of comparing the claimed
// identities with the signer's.
func (s bundle) comparisonCost(by *evidence.Signer) int {
	claimed := 1
	for _, c := range s.b.Signers {
		claimed += len(c.Identity) + len(c.Issuer)
	}
	return 1 + claimed*(by.Weight+1)/comparedPerMicrosecond
}

func (s bundle) Judge(t *evidence.Trust, charge evidence.Charge) *evidence.Proof {
	if s.b.HasKey() {
		return s.judgeKey(t, charge)
	}
	if err := charge(s.certificateCost()); err != nil {
		return evidence.Unverified("%s", err)
	}
	own := s.b.CheckOwn()
	unsupported := errors.Is(own, dsse.ErrUnsupported)
	if own != nil && !unsupported {
		return evidence.Failed("the signature does not match the bundle's certificate")
	}
	why := evidence.Unverified("no trusted root in force contains the certificate's authority")
	for _, file := range t.Roots {
		for _, trusted := range file.Trusted.Each() {
			if !trusted.Knows(s.b) {
				continue
			}
			if file.Expired != nil {
				why = evidence.Unverified("%s", file.Expired)
				continue
			}
			if err := s.b.Missing(trusted.Usual()); err != nil {
				why = evidence.Unverified("%s", err)
				continue
			}
			if err := charge(s.certificateCost()); err != nil {
				return evidence.Unverified("%s", err)
			}
			out, err := s.under(trusted)
			switch {
			case err == nil:
				return proofOf(out)
			case unsupported:
				why = evidence.Unverified("%s", own)
			default:
				why = evidence.Failed("trusted root %s: %s", file.Name, sigstore.Reason(err))
				why.TrustedRoot = trusted.Digest()
			}
		}
	}
	return why
}

// under verifies the bundle under one trusted root.
func (s bundle) under(trusted *sigstore.TrustedRoot) (*sigstore.Verified, error) {
	v, err := sigstore.NewCertificateVerifier(trusted, trusted.Usual())
	if err != nil {
		return nil, err
	}
	return v.Verify(s.b, nil)
}

func (s bundle) judgeKey(t *evidence.Trust, charge evidence.Charge) *evidence.Proof {
	return evidence.JudgeKeys(t, func(keys []*dsse.Key) ([]entry.Signer, error) {
		if err := charge(evidence.CostOfKeys(keys, s.b.Payload)); err != nil {
			return nil, err
		}
		v, err := sigstore.NewKeyVerifier(keys, nil, sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None})
		if err != nil {
			return nil, err
		}
		out, err := v.Verify(s.b, nil)
		if err != nil {
			return nil, verdictError{err}
		}
		return []entry.Signer{out.Signer}, nil
	}, s.b.Hints)
}

func proofOf(v *sigstore.Verified) *evidence.Proof {
	p := evidence.Verified(logEntriesOf(v), v.Signer)
	p.TrustedRoot, p.Claims, p.KeyName, p.Bundle = v.TrustedRoot, v.Claims, v.KeyName, v
	return p
}

// logEntriesOf describes the log entries and timestamps of a signature.
func logEntriesOf(v *sigstore.Verified) string {
	var parts []string
	if n := len(v.LogEntries); n == 1 {
		parts = append(parts, "in the log "+v.LogEntries[0].Log)
	} else if n > 1 {
		parts = append(parts, fmt.Sprintf("in %d logs", n))
	}
	for _, t := range v.Timestamps {
		switch t.Source {
		case sigstore.SourceAuthority:
			parts = append(parts, "timestamped "+t.Time.Format(time.RFC3339))
		case sigstore.SourceLog:
			parts = append(parts, "logged "+t.Time.Format(time.RFC3339))
		}
	}
	return strings.Join(parts, ", ")
}

// A verdictError is a verification error whose text is only the reason.
type verdictError struct{ error }

func (e verdictError) Error() string { return sigstore.Reason(e.error) }
func (e verdictError) Unwrap() error { return e.error }
