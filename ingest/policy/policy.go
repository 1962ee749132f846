// Package policy parses admission policies (docs/spec/policy.md). A policy
// decides which submitters can record which evidence about which artifacts.
//
// The package verifies the evidence's signatures. Package ingest parses the
// evidence beforehand, and records or refuses it afterwards.
package policy

import (
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Modes of a policy.
const (
	Enforce = "enforce" // refuse evidence that no rule admits
	Record  = "record"  // record it, and mark it in the header
)

// An AdmissionPolicy is a parsed policy file. It is immutable, so goroutines
// can share it.
type AdmissionPolicy struct {
	Mode    string
	Signers []*Signer
	Rules   []*Rule

	text   []byte
	digest string
}

// Text returns the policy file, byte for byte.
func (p *AdmissionPolicy) Text() []byte { return slices.Clone(p.text) }

// Digest returns the SHA-256 of the policy file, as "sha256:" and hexadecimal
// digits.
func (p *AdmissionPolicy) Digest() string { return p.digest }

// Roots returns the names of the trusted roots that the policy refers to,
// sorted and without duplicates.
func (p *AdmissionPolicy) Roots() []string {
	var names []string
	for _, s := range p.Signers {
		if s.needsRoot() {
			names = append(names, s.Root)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A Signer is a party whose signatures count, together with the requirements
// that they must meet.
type Signer struct {
	Name string

	// Exactly one of these identifies the signer.
	Identity sigstore.Identity // of a certificate
	Keys     []*dsse.Key
	PGP      *helm.Keyring

	Threshold int // number of keys that must have signed
	// Root is the name of the trusted root for verifying certificates, log
	// entries and timestamps.
	Root string
	Need sigstore.Requirements

	line   int
	weight int // of the identity's regular expressions
}

func (s *Signer) needsRoot() bool {
	return s.PGP == nil && (len(s.Keys) == 0 || s.Need.LogEntries != sigstore.None || s.Need.Timestamps != sigstore.None)
}

// A Rule selects evidence and specifies its requirements. An empty list matches
// everything.
type Rule struct {
	Name           string
	Deny           bool // do not admit matching evidence
	Kinds          []string
	MediaTypes     []string // globs, without parameters
	PredicateTypes []string // globs
	Submitters     []string // globs
	// SubjectNames are globs. An admitting rule requires every subject to match
	// one of them, a deny rule only one subject.
	SubjectNames []string
	DigestTypes  []string // each subject must have a digest of one of these algorithms
	Signers      []*Signer
	Unsigned     bool // no signature is required
	Conforming   bool // the evidence must conform to the definition of its type
	Condition    *condition.Condition[view]

	line        int
	foldedNames []string // SubjectNames after foldGlob, for deny rules
}

// Digest returns the digest of a policy's text.
func Digest(text []byte) string { return entry.SHA256(text) }

// Default is the policy for tenants without their own, unless the operator
// configures another.
const Default = `# For tenants without a policy of their own: record everything, with the result of verifying its signatures.
version: 1
mode: record
rules:
  - name: everything
    unsigned: true
`

// CheckRoots returns an *Error if the policy refers to a trusted root that is
// not in force.
func (p *AdmissionPolicy) CheckRoots(inForce []string) error {
	e := &Error{}
	for _, s := range p.Signers {
		if s.needsRoot() && !slices.Contains(inForce, s.Root) {
			there := "no trusted roots are in force"
			if len(inForce) > 0 {
				there = "use one of " + strings.Join(inForce, ", ")
			}
			e.Problems = append(e.Problems, Problem{Line: s.line, Field: "signers." + s.Name + ".trusted_root", Message: fmt.Sprintf("trusted root %q is not in force: %s", s.Root, there)})
		}
	}
	if len(e.Problems) > 0 {
		return e
	}
	return nil
}
