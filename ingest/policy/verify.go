package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/cose"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A Root is a trusted root in force.
type Root struct {
	Name    string
	Trusted *sigstore.TrustedRoot
	Expired error // nil: usable; else it was confirmed too long ago to be used
}

// Roots are the trusted roots in force, by name.
type Roots map[string]*Root

func (r Roots) find(name string) (*sigstore.TrustedRoot, error) {
	root := r[name]
	switch {
	case root == nil:
		return nil, fmt.Errorf("trusted root %s is not in force", name)
	case root.Expired != nil:
		return nil, root.Expired
	}
	return root.Trusted, nil
}

// Signed is signed evidence of some format.
type Signed interface {
	// Format returns the name of the format, as in headers.
	Format() string
	// verify checks the signatures against a signer and its requirements. It
	// charges the meter first.
	verify(m *meter, s *Signer, roots Roots) (*proof, error)
	// judge verifies the signatures independently of the policy's rules. It
	// charges the meter first.
	judge(m *meter, p *AdmissionPolicy, roots Roots) *proof
}

// SignedBy returns a document in the form that its package verifies, or nil for
// nil.
func SignedBy(document any) Signed {
	switch d := document.(type) {
	case *sigstore.Bundle:
		return Bundle(d)
	case *dsse.Envelope:
		return Envelope(d)
	case *cose.Statement:
		return Statement(d)
	case helm.Signed:
		return Provenance(d)
	case nil:
		return nil
	}
	// a row of the registry of formats without a counterpart here
	panic(fmt.Sprintf("no rules for signatures of a %T", document))
}

// A proof is the result of verifying signatures.
type proof struct {
	signer  *Signer // in the policy; nil if none
	signers []entry.Signer
	claims  map[string]string // of the certificate
	entry.Verification

	undecided bool // not verified because of the cost, so the signatures could be invalid
}

// Costs of verification, in units.
const (
	microsecond = 10
	certificate = 5000 * microsecond // a bundle with certificate, log entries and timestamps
	pgp         = 1000 * microsecond // one PGP key
)

// attempts returns a function that charges the meter for attempts to verify.
func (m *meter) attempts() dsse.Charge {
	return func(us int) error { return m.charge(product(us, microsecond)) }
}

// undecided returns the proof for signatures whose verification costs too much.
func undecided(s Signed, err error) *proof {
	p := notVerified(s, entry.Unverified, "the signatures were not verified: %s", err)
	p.undecided = true
	return p
}

func verified(s Signed, by []entry.Signer, root, reason string) *proof {
	return &proof{signers: by, Verification: entry.Verification{Result: entry.Verified, Format: s.Format(), TrustedRoot: root, Reason: reason}}
}

func notVerified(s Signed, result, format string, args ...any) *proof {
	return &proof{Verification: entry.Verification{Result: result, Format: s.Format(), Reason: shorten(fmt.Sprintf(format, args...))}}
}

// maxReason is the size limit of a reason in a header, in bytes.
const maxReason = 512

func shorten(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

// Bundle returns a Sigstore bundle as signed evidence.
func Bundle(b *sigstore.Bundle) Signed { return signedBundle{b} }

type signedBundle struct{ *sigstore.Bundle }

func (signedBundle) Format() string { return "sigstore" }

func (b signedBundle) verify(m *meter, s *Signer, roots Roots) (*proof, error) {
	switch {
	case s.PGP != nil:
		return nil, errors.New("a Sigstore bundle is not signed with PGP")
	case b.HasKey() && len(s.Keys) == 0:
		return nil, errors.New("the bundle was signed with a key, not with a certificate")
	case !b.HasKey() && len(s.Keys) > 0:
		return nil, errors.New("the bundle was signed with a certificate, not with a key")
	case s.Threshold > 1:
		return nil, fmt.Errorf("a bundle has one signature, but the signer requires %d", s.Threshold)
	}
	var trusted *sigstore.TrustedRoot
	var err error
	if s.needsRoot() {
		if trusted, err = roots.find(s.Root); err != nil {
			return nil, err
		}
	}
	var v *sigstore.Verifier
	if err := b.charge(m, s); err != nil {
		return nil, err
	}
	if len(s.Keys) > 0 {
		v, err = sigstore.NewKeyVerifier(s.Keys, trusted, s.Need)
	} else {
		// Compare the identity first, because it is cheap and distinguishes
		// signers.
		if i := slices.IndexFunc(b.Signers, func(claimed entry.Signer) bool { return s.Identity.Check(claimed) == nil }); i < 0 {
			claimed := entry.Signer{}
			if len(b.Signers) > 0 {
				claimed = b.Signers[0]
			}
			return nil, plain(s.Identity.Check(claimed))
		}
		v, err = sigstore.NewCertificateVerifier(trusted, s.Need)
	}
	if err != nil {
		return nil, err
	}
	if len(s.Keys) == 0 {
		if err := m.charge(product(len(trusted.Each()), certificate+len(b.Payload)/hashedPerUnit)); err != nil {
			return nil, err
		}
	}
	out, err := v.Verify(b.Bundle, nil)
	if err != nil {
		return nil, plain(err)
	}
	if len(s.Keys) == 0 {
		if err := s.Identity.Check(out.Signer); err != nil {
			return nil, plain(err)
		}
	}
	p := verified(b, []entry.Signer{out.Signer}, out.TrustedRoot, evidenceOf(out))
	p.signer, p.claims = s, out.Claims
	return p, nil
}

// hashedPerUnit is the number of bytes that one unit pays to hash.
const hashedPerUnit = 32

// withKeys returns the cost of trying one signature of a payload with each key.
func withKeys(keys []*dsse.Key, payload []byte) int {
	return 1000*microsecond + product(dsse.Cost(keys), microsecond) + len(payload)/hashedPerUnit
}

// charge pays for comparing identities and for verification with keys.
func (b signedBundle) charge(m *meter, s *Signer) error {
	claimed := 0
	for _, c := range b.Signers {
		claimed += len(c.Identity) + len(c.Issuer)
	}
	units := text(product(claimed+1, s.weight+1))
	if len(s.Keys) > 0 {
		units += withKeys(s.Keys, b.Payload)
	}
	return m.charge(units)
}

// evidenceOf describes the log entries and timestamps of a signature.
func evidenceOf(v *sigstore.Verified) string {
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
	return shorten(strings.Join(parts, ", "))
}

func (b signedBundle) judge(m *meter, p *AdmissionPolicy, roots Roots) *proof {
	if b.HasKey() {
		return judgeKeys(b, p, func(keys []*dsse.Key) ([]entry.Signer, error) {
			if err := m.charge(withKeys(keys, b.Payload)); err != nil {
				return nil, err
			}
			v, err := sigstore.NewKeyVerifier(keys, nil, sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None})
			if err != nil {
				return nil, err
			}
			out, err := v.Verify(b.Bundle, nil)
			if err != nil {
				return nil, plain(err)
			}
			return []entry.Signer{out.Signer}, nil
		}, b.Hints)
	}
	if err := m.charge(certificate + len(b.Payload)/hashedPerUnit); err != nil {
		return undecided(b, err)
	}
	own := b.CheckOwn()
	unsupported := errors.Is(own, dsse.ErrUnsupported)
	if own != nil && !unsupported {
		return notVerified(b, entry.Failed, "the signature does not match the bundle's certificate")
	}
	why := notVerified(b, entry.Unverified, "no trusted root in force contains the certificate's authority")
	for name, trusted := range eachRoot(roots) {
		if !trusted.Knows(b.Bundle) {
			continue
		}
		if roots[name].Expired != nil {
			why = notVerified(b, entry.Unverified, "%s", roots[name].Expired)
			continue
		}
		need := trusted.Usual()
		if err := b.Missing(need); err != nil {
			why = notVerified(b, entry.Unverified, "%s", err)
			continue
		}
		if err := m.charge(certificate + len(b.Payload)/hashedPerUnit); err != nil {
			return undecided(b, err)
		}
		v, err := sigstore.NewCertificateVerifier(trusted, need)
		if err == nil {
			var out *sigstore.Verified
			if out, err = v.Verify(b.Bundle, nil); err == nil {
				p := verified(b, []entry.Signer{out.Signer}, out.TrustedRoot, evidenceOf(out))
				p.claims = out.Claims
				return p
			}
		}
		if unsupported {
			why = notVerified(b, entry.Unverified, "%s", own)
			continue
		}
		why = notVerified(b, entry.Failed, "trusted root %s: %s", name, plain(err))
		why.TrustedRoot = trusted.Digest()
	}
	return why
}

// eachRoot returns the roots of all files, in the order of their names.
func eachRoot(roots Roots) iter.Seq2[string, *sigstore.TrustedRoot] {
	return func(yield func(string, *sigstore.TrustedRoot) bool) {
		for _, name := range rootNames(roots) {
			for _, r := range roots[name].Trusted.Each() {
				if !yield(name, r) {
					return
				}
			}
		}
	}
}

func rootNames(roots Roots) []string {
	names := make([]string, 0, len(roots))
	for name := range roots {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// plain removes the prefix that all verification errors share.
func plain(err error) error {
	if err == nil {
		return nil
	}
	return &verdictError{strings.TrimPrefix(err.Error(), sigstore.ErrNotVerified.Error()+": "), err}
}

// A verdictError wraps its cause with a shorter text.
type verdictError struct {
	text  string
	cause error
}

func (e *verdictError) Error() string { return e.text }
func (e *verdictError) Unwrap() error { return e.cause }

// judgeKeys tries all keys of the policy. A signature by none of them can be by
// someone else. It is invalid if it claims to be by one of them.
func judgeKeys(s Signed, p *AdmissionPolicy, try func([]*dsse.Key) ([]entry.Signer, error), claims func(*dsse.Key) bool) *proof {
	var keys []*dsse.Key
	for _, signer := range p.Signers {
		for _, k := range signer.Keys {
			if len(keys) < sigstore.MaxKeys && !slices.ContainsFunc(keys, func(o *dsse.Key) bool { return o.ID == k.ID }) {
				keys = append(keys, k)
			}
		}
	}
	if len(keys) == 0 {
		return notVerified(s, entry.Unverified, "signed with a key, but the policy has no keys")
	}
	by, err := try(keys)
	if err == nil {
		return verified(s, by, "", "only the signature was verified")
	}
	if errors.Is(err, errBudget) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return undecided(s, err)
	}
	if errors.Is(err, dsse.ErrUnsupported) {
		return notVerified(s, entry.Unverified, "%s", err)
	}
	for _, k := range keys {
		if claims(k) {
			return notVerified(s, entry.Failed, "claims to be signed with key %s, which does not verify it: %s", k, err)
		}
	}
	return notVerified(s, entry.Unverified, "not signed with any of the policy's keys")
}

// Envelope returns a DSSE envelope signed with raw keys as signed evidence.
func Envelope(e *dsse.Envelope) Signed { return signedEnvelope{e} }

type signedEnvelope struct{ *dsse.Envelope }

func (signedEnvelope) Format() string { return "dsse" }

func (e signedEnvelope) verify(m *meter, s *Signer, _ Roots) (*proof, error) {
	switch {
	case len(s.Keys) == 0:
		return nil, errors.New("a bare DSSE envelope is signed with a key, but the signer has none")
	case s.Need.LogEntries != sigstore.None:
		return nil, errors.New("a bare DSSE envelope has no log entry, which the signer requires: allow it with require: {log_entries: 0}")
	case s.Need.Timestamps != sigstore.None:
		return nil, errors.New("a bare DSSE envelope has no timestamp, which the signer requires")
	}
	r, err := e.VerifyWithin(m.attempts(), s.Keys, s.Threshold)
	if err != nil {
		return nil, plain(err)
	}
	p := verified(e, r.Signers(), "", "")
	p.signer = s
	return p, nil
}

func (e signedEnvelope) judge(m *meter, p *AdmissionPolicy, _ Roots) *proof {
	return judgeKeys(e, p, func(keys []*dsse.Key) ([]entry.Signer, error) {
		r, err := e.VerifyWithin(m.attempts(), keys, 1)
		if m.err != nil {
			return nil, m.err
		}
		if err != nil {
			return nil, plain(err)
		}
		return r.Signers(), nil
	}, func(k *dsse.Key) bool {
		return slices.ContainsFunc(e.Signers, func(s entry.Signer) bool {
			return s.KeyID == k.ID || s.KeyID == strings.TrimPrefix(k.ID, "sha256:")
		})
	})
}

// Statement returns a signed COSE statement as signed evidence.
func Statement(s *cose.Statement) Signed { return signedStatement{s} }

type signedStatement struct{ *cose.Statement }

func (signedStatement) Format() string { return "cose" }

func (c signedStatement) verify(m *meter, s *Signer, _ Roots) (*proof, error) {
	switch {
	case len(s.Keys) == 0:
		return nil, errors.New("a COSE statement is signed with a key, but the signer has none")
	case s.Need.LogEntries != sigstore.None:
		return nil, errors.New("a COSE statement has no log entry, which the signer requires: allow it with require: {log_entries: 0}")
	case s.Need.Timestamps != sigstore.None:
		return nil, errors.New("a COSE statement has no timestamp, which the signer requires")
	case s.Threshold > 1:
		return nil, fmt.Errorf("a COSE statement has one signature, but the signer requires %d", s.Threshold)
	}
	if err := m.charge(withKeys(s.Keys, c.Bytes)); err != nil {
		return nil, err
	}
	k, err := c.Verify(s.Keys)
	if err != nil {
		return nil, plain(err)
	}
	p := verified(c, []entry.Signer{{KeyID: k.ID}}, "", "")
	p.signer = s
	return p, nil
}

func (c signedStatement) judge(m *meter, p *AdmissionPolicy, _ Roots) *proof {
	return judgeKeys(c, p, func(keys []*dsse.Key) ([]entry.Signer, error) {
		if err := m.charge(withKeys(keys, c.Bytes)); err != nil {
			return nil, err
		}
		k, err := c.Verify(keys)
		if err != nil {
			return nil, plain(err)
		}
		return []entry.Signer{{KeyID: k.ID}}, nil
	}, func(*dsse.Key) bool { return false })
}

// Provenance returns a chart's provenance file as signed evidence.
func Provenance(file []byte) Signed { return signedProvenance(file) }

type signedProvenance []byte

func (signedProvenance) Format() string { return "helm" }

func (f signedProvenance) verify(m *meter, s *Signer, _ Roots) (*proof, error) {
	if s.PGP == nil {
		return nil, errors.New("a chart's provenance file is signed with PGP, but the signer has no PGP keys")
	}
	if err := m.charge(pgp + len(f)/hashedPerUnit); err != nil {
		return nil, err
	}
	p, err := s.PGP.Verify(f)
	if err != nil {
		return nil, plain(err)
	}
	by := verified(f, []entry.Signer{p.Signer()}, "", "signed "+p.SignedAt.Format(time.RFC3339)+" by the signer's clock")
	by.signer = s
	return by, nil
}

func (f signedProvenance) judge(m *meter, p *AdmissionPolicy, roots Roots) *proof {
	why := notVerified(f, entry.Unverified, "signed with PGP, but the policy has no PGP keys")
	for _, s := range p.Signers {
		if s.PGP == nil {
			continue
		}
		by, err := f.verify(m, s, roots)
		if m.err != nil {
			return undecided(f, m.err)
		}
		if err == nil {
			by.signer = nil
			return by
		}
		why = notVerified(f, entry.Unverified, "not signed with any of the policy's PGP keys")
		if s.PGP.Knows(f) {
			return notVerified(f, entry.Failed, "%s", err)
		}
	}
	return why
}
