// Package policy reads admission policies (docs/spec/policy.md) and decides by
// them: who may submit what about which artifacts.
//
// It decides over evidence that was read and signatures that it has verified;
// what becomes of the evidence is for package ingest.
package policy

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Modes of a policy.
const (
	Enforce = "enforce" // what no rule admits is refused
	Record  = "record"  // it is kept, and marked
)

// An AdmissionPolicy is the content of one policy file. It is immutable, so
// goroutines may share it.
type AdmissionPolicy struct {
	Mode    string
	Signers []*Signer
	Rules   []*Rule

	text   []byte
	digest string
}

// Text is the file, byte for byte.
func (p *AdmissionPolicy) Text() []byte { return slices.Clone(p.text) }

// Digest is the SHA-256 of the file, as "sha256:" and hexadecimal digits.
func (p *AdmissionPolicy) Digest() string { return p.digest }

// Roots returns the names of the trusted roots that the policy speaks of,
// sorted, each once.
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

// A Signer is somebody whose signatures count, and what must be beside them.
type Signer struct {
	Name string

	// One of these three says who it is.
	Identity sigstore.Identity // of a certificate
	Keys     []*dsse.Key
	PGP      *helm.Keyring

	Threshold int // how many of the keys must have signed
	// name of the trusted root that certificates, log entries and timestamps
	// are checked with
	Root string
	Need sigstore.Requirements

	line   int
	weight int // of the identity's regular expressions
}

func (s *Signer) needsRoot() bool {
	return s.PGP == nil && (len(s.Keys) == 0 || s.Need.LogEntries != sigstore.None || s.Need.Timestamps != sigstore.None)
}

// A Rule says what it is for, and what such evidence must have. An empty list
// lets all pass.
type Rule struct {
	Name           string
	Deny           bool // evidence that it is for is not admitted
	Kinds          []string
	MediaTypes     []string // globs, without parameters
	PredicateTypes []string // globs
	Submitters     []string // globs
	// globs; of a rule that admits, each subject must have one of these names,
	// of one that denies, any
	SubjectNames []string
	DigestTypes  []string // each subject must have a digest of one of these algorithms
	Signers      []*Signer
	Unsigned     bool // signatures are not asked for
	Conforming   bool // the evidence must conform to the definition of its type
	Condition    *condition

	line        int
	foldedNames []string // SubjectNames as foldName writes names; of a rule that denies
}

// Digest returns the digest of a policy's text.
func Digest(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

// Default is the policy of tenants that have none of their own, unless the
// operator gives another.
const Default = `# The policy of a tenant that has none of its own: everything is kept, and says in its header what its signatures are worth.
version: 1
mode: record
rules:
  - name: everything
    unsigned: true
`

// CheckRoots returns an *Error if the policy speaks of a trusted root that is
// not one of those in force.
func (p *AdmissionPolicy) CheckRoots(inForce []string) error {
	e := &Error{}
	for _, s := range p.Signers {
		if s.needsRoot() && !slices.Contains(inForce, s.Root) {
			there := "there are none"
			if len(inForce) > 0 {
				there = "there is " + strings.Join(inForce, ", ")
			}
			e.Problems = append(e.Problems, Problem{Line: s.line, Field: "signers." + s.Name + ".trusted_root", Message: fmt.Sprintf("no trusted root %q is in force; %s", s.Root, there)})
		}
	}
	if len(e.Problems) > 0 {
		return e
	}
	return nil
}
