package policy

import (
	"errors"
	"maps"
	"slices"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Roots are the trusted roots in force, by name.
type Roots map[string]*evidence.Root

// find returns a root. Its Trusted is nil if the root is not in force.
func (r Roots) find(name string) evidence.Root {
	if root := r[name]; root != nil {
		return *root
	}
	return evidence.Root{Name: name}
}

// A proof is the result of verifying signatures.
type proof struct {
	signer  *Signer // in the policy; nil if none
	signers []entry.Signer
	claims  map[string]string // of the certificate
	entry.Verification

	undecided bool // not verified because of the cost; the signatures could be invalid
}

func newProof(format string, p *evidence.Proof) *proof {
	return &proof{
		signers: p.Signers, claims: p.Claims,
		Verification: entry.Verification{Result: p.Result, Format: format, TrustedRoot: p.TrustedRoot, Reason: condition.Shorten(p.Reason)},
	}
}

// microsecond is the cost of a microsecond of verification, in units.
const microsecond = 10

// spend returns the function through which formats pay for their work. It
// stores its first error in spent.
func (c *court) spend(spent *error) evidence.Charge {
	return func(us int) error {
		err := c.meter.Charge(condition.Product(us, microsecond))
		if err != nil && *spent == nil {
			*spent = err
		}
		return err
	}
}

// verify checks the signatures against a signer of the policy.
func (c *court) verify(s *Signer) (*proof, error) {
	var spent error
	p, err := c.ev.Signed.Verify(s.required(c.roots), c.spend(&spent))
	if spent != nil {
		return nil, spent
	}
	if err != nil {
		return nil, errors.New(sigstore.Reason(err))
	}
	by := newProof(c.ev.Signed.Format(), p)
	by.signer = s
	return by, nil
}

// judge verifies the signatures independently of the policy's rules.
func (c *court) judge() *proof {
	var spent error
	signed := c.ev.Signed
	p := signed.Judge(c.policy.trust(c.roots), c.spend(&spent))
	if spent != nil {
		p = evidence.Unverified("the signatures were not verified: %s", spent)
	}
	by := newProof(signed.Format(), p)
	by.undecided = spent != nil
	return by
}

// required returns the signer as formats expect it for verification.
func (s *Signer) required(roots Roots) *evidence.Signer {
	return &evidence.Signer{
		Identity: s.Identity, Weight: s.weight, Keys: s.Keys, PGP: s.PGP,
		Threshold: s.Threshold, Root: roots.find(s.Root), Need: s.Need,
	}
}

// trust returns everything that the policy trusts, with the first MaxKeys keys.
func (p *AdmissionPolicy) trust(roots Roots) *evidence.Trust {
	t := &evidence.Trust{}
	for _, s := range p.Signers {
		for _, k := range s.Keys {
			if len(t.Keys) < sigstore.MaxKeys && !slices.ContainsFunc(t.Keys, func(o *dsse.Key) bool { return o.ID == k.ID }) {
				t.Keys = append(t.Keys, k)
			}
		}
		if s.PGP != nil {
			t.PGP = append(t.PGP, s.PGP)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		t.Roots = append(t.Roots, *roots[name])
	}
	return t
}
