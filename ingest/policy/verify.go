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
	"muniment.dev/muniment/verifiers/sigstore"
)

// A Root is a trusted root in force.
type Root struct {
	Name    string
	Trusted *sigstore.TrustedRoot
	Expired error // not nil: it was not confirmed for so long that it may not be used
}

// Roots are the trusted roots in force, by name.
type Roots map[string]*Root

func (r Roots) find(name string) (*sigstore.TrustedRoot, error) {
	root := r[name]
	switch {
	case root == nil:
		return nil, fmt.Errorf("the trusted root %s is not in force here", name)
	case root.Expired != nil:
		return nil, root.Expired
	}
	return root.Trusted, nil
}

// Signed is evidence that has signatures of some format.
type Signed interface {
	// Format is the name that headers have for it.
	Format() string
	// verify checks the signatures as the signer's must be. It charges the
	// meter before it does so.
	verify(m *meter, s *Signer, roots Roots) (*proof, error)
	// judge says what the signatures are worth if none of a policy's rules
	// counts on them. It charges the meter before it does so.
	judge(m *meter, p *AdmissionPolicy, roots Roots) *proof
}

// A proof says who has signed, and how that is known.
type proof struct {
	signer  *Signer // of the policy; nil if it is none of them
	signers []entry.Signer
	claims  map[string]string // of the certificate
	entry.Verification

	undecided bool // the signatures were not judged, because of the cost; they may be wrong
}

// Costs of work on signatures, in units.
const (
	microsecond = 10
	// to verify a bundle with one, its log entries and its timestamps
	certificate = 5000 * microsecond
	pgp         = 1000 * microsecond // to verify with one key
)

// attempts charges the meter for attempts to verify.
func (m *meter) attempts() dsse.Charge {
	return func(us int) error { return m.charge(product(us, microsecond)) }
}

// undecided is the result of a judgement that costs too much.
func undecided(s Signed, err error) *proof {
	p := notVerified(s, entry.Unverified, "the signatures were not judged: %s", err)
	p.undecided = true
	return p
}

func verified(s Signed, by []entry.Signer, root, reason string) *proof {
	return &proof{signers: by, Verification: entry.Verification{Result: entry.Verified, Format: s.Format(), TrustedRoot: root, Reason: reason}}
}

func notVerified(s Signed, result, format string, args ...any) *proof {
	return &proof{Verification: entry.Verification{Result: result, Format: s.Format(), Reason: shorten(fmt.Sprintf(format, args...))}}
}

// maxReason bounds what a reason may take of a header, in bytes.
const maxReason = 512

func shorten(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

// Bundle is the evidence that a Sigstore bundle is.
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
		return nil, fmt.Errorf("a bundle has one signature, and %d are asked for", s.Threshold)
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
		// Who it is comes first: that is what tells signers apart, and costs
		// nothing.
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

// hashedPerUnit is how many bytes are hashed for a unit.
const hashedPerUnit = 32

// withKeys is the cost of trying one signature of a payload with each of the
// keys.
func withKeys(keys []*dsse.Key, payload []byte) int {
	return 1000*microsecond + product(dsse.Cost(keys), microsecond) + len(payload)/hashedPerUnit
}

// charge pays for telling signers apart, and for verifying with keys.
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

// evidenceOf says in words what was beside the signature.
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
		return notVerified(b, entry.Failed, "the signature is not by the bundle's own certificate")
	}
	why := notVerified(b, entry.Unverified, "no trusted root in force knows the certificate's authority")
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
		why = notVerified(b, entry.Failed, "by the trusted root %s: %s", name, plain(err))
		why.TrustedRoot = trusted.Digest()
	}
	return why
}

// eachRoot returns the roots of all files, in the order of the files' names.
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

// plain drops the words that all verdicts begin with.
func plain(err error) error {
	if err == nil {
		return nil
	}
	return &verdictError{strings.TrimPrefix(err.Error(), sigstore.ErrNotVerified.Error()+": "), err}
}

// A verdictError reads shorter than its cause.
type verdictError struct {
	text  string
	cause error
}

func (e *verdictError) Error() string { return e.text }
func (e *verdictError) Unwrap() error { return e.cause }

// judgeKeys tries all keys of the policy. A signature that is by none of them
// may be somebody else's; it is wrong if it says that it is by one.
func judgeKeys(s Signed, p *AdmissionPolicy, try func([]*dsse.Key) ([]entry.Signer, error), says func(*dsse.Key) bool) *proof {
	var keys []*dsse.Key
	for _, signer := range p.Signers {
		for _, k := range signer.Keys {
			if len(keys) < sigstore.MaxKeys && !slices.ContainsFunc(keys, func(o *dsse.Key) bool { return o.ID == k.ID }) {
				keys = append(keys, k)
			}
		}
	}
	if len(keys) == 0 {
		return notVerified(s, entry.Unverified, "signed with a key, and the policy has no keys")
	}
	by, err := try(keys)
	if err == nil {
		return verified(s, by, "", "only the signature was looked at")
	}
	if errors.Is(err, errBudget) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return undecided(s, err)
	}
	if errors.Is(err, dsse.ErrUnsupported) {
		return notVerified(s, entry.Unverified, "%s", err)
	}
	for _, k := range keys {
		if says(k) {
			return notVerified(s, entry.Failed, "it says that it is signed with the key %s, and is not: %s", k, err)
		}
	}
	return notVerified(s, entry.Unverified, "signed with none of the policy's keys")
}

// Envelope is the evidence that a DSSE envelope with raw keys is.
func Envelope(e *dsse.Envelope) Signed { return signedEnvelope{e} }

type signedEnvelope struct{ *dsse.Envelope }

func (signedEnvelope) Format() string { return "dsse" }

func (e signedEnvelope) verify(m *meter, s *Signer, _ Roots) (*proof, error) {
	switch {
	case len(s.Keys) == 0:
		return nil, errors.New("a bare DSSE envelope is signed with keys")
	case s.Need.LogEntries != sigstore.None:
		return nil, errors.New("a bare DSSE envelope has no log entry, and one is required; allow it with require: {log_entries: 0}")
	case s.Need.Timestamps != sigstore.None:
		return nil, errors.New("a bare DSSE envelope has no timestamp, and one is required")
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

// Statement is the evidence that a signed COSE statement is.
func Statement(s *cose.Statement) Signed { return signedStatement{s} }

type signedStatement struct{ *cose.Statement }

func (signedStatement) Format() string { return "cose" }

func (c signedStatement) verify(m *meter, s *Signer, _ Roots) (*proof, error) {
	switch {
	case len(s.Keys) == 0:
		return nil, errors.New("COSE statements are verified with keys")
	case s.Need.LogEntries != sigstore.None:
		return nil, errors.New("a COSE statement has no log entry, and one is required; allow it with require: {log_entries: 0}")
	case s.Need.Timestamps != sigstore.None:
		return nil, errors.New("a COSE statement has no timestamp, and one is required")
	case s.Threshold > 1:
		return nil, fmt.Errorf("a COSE statement has one signature, and %d are asked for", s.Threshold)
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

// Provenance is the evidence that a chart's provenance file is.
func Provenance(file []byte) Signed { return signedProvenance(file) }

type signedProvenance []byte

func (signedProvenance) Format() string { return "helm" }

func (f signedProvenance) verify(m *meter, s *Signer, _ Roots) (*proof, error) {
	if s.PGP == nil {
		return nil, errors.New("a chart's provenance file is signed with PGP")
	}
	if err := m.charge(pgp + len(f)/hashedPerUnit); err != nil {
		return nil, err
	}
	p, err := s.PGP.Verify(f)
	if err != nil {
		return nil, plain(err)
	}
	by := verified(f, []entry.Signer{p.Signer()}, "", "signed "+p.SignedAt.Format(time.RFC3339)+", it says")
	by.signer = s
	return by, nil
}

func (f signedProvenance) judge(m *meter, p *AdmissionPolicy, roots Roots) *proof {
	why := notVerified(f, entry.Unverified, "signed with PGP, and the policy has no PGP keys")
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
		why = notVerified(f, entry.Unverified, "signed with none of the policy's PGP keys")
		if s.PGP.Knows(f) {
			return notVerified(f, entry.Failed, "%s", err)
		}
	}
	return why
}
