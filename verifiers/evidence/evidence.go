// Package evidence defines what evidence formats have in common: parsed
// documents, their signatures, and the keys and trusted roots for verifying
// them.
//
// Package format is the registry of formats.
// The registry of formats is package format.
package evidence

import (
	"errors"
	"fmt"
	"mime"
	"strings"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// CanonicalType returns the canonical spelling of a media type. It drops the
// parameters if noParameters reports that they have no meaning.
func CanonicalType(mediaType string, noParameters func(base string) bool) (string, error) {
	base, params, err := mime.ParseMediaType(mediaType)
	switch is := mime.FormatMediaType(base, params); {
	case err != nil || !strings.Contains(base, "/"):
	case noParameters(base):
		return base, nil
	case is != "":
		return is, nil
	}
	return "", fmt.Errorf("%q is not a media type", mediaType)
}

// A Document is a parsed document. Its contents are only claims, because no
// signature has been verified.
type Document struct {
	MediaType  string // in headers
	Subjects   []entry.Subject
	Signers    []entry.Signer
	Attributes map[string]string
	// Statement is the in-toto statement that the document is or contains, or
	// nil. Its predicate is not checked.
	Statement *intoto.Statement
	// Unread is the reason that a signed payload cannot be read, although it
	// is, or is declared to be, a statement.
	Unread   error
	External *entry.External // nil unless the evidence is stored elsewhere
	Signed   Signed          // nil if the format has no signatures
}

// Verify verifies one signer's signatures, and that the document is about the
// signer's Artifact.
func (d *Document) Verify(by *Signer, charge Charge) (*Proof, error) {
	if d.Signed == nil {
		return nil, errors.New("the document has no signatures")
	}
	p, err := d.Signed.Verify(by, charge)
	if err != nil || by.Artifact == nil {
		return p, err
	}
	subjects := d.Subjects
	if d.Statement != nil {
		subjects = d.Statement.Subjects
	}
	if !by.Artifact.IsOneOf(subjects) {
		return nil, fmt.Errorf("the document is not about the artifact %s", by.Artifact.Digest())
	}
	return p, nil
}

// Signed is a document with signatures. Implementations do not retain the
// arguments of their methods.
type Signed interface {
	// Format returns the name of the signature format in headers.
	Format() string
	// Verify verifies one signer's signatures. The error explains why they do
	// not meet the signer's requirements.
	Verify(by *Signer, charge Charge) (*Proof, error)
	// Judge verifies the signatures with every key and root that a policy
	// trusts, independently of its rules.
	Judge(t *Trust, charge Charge) *Proof
}

// A Charge pays for a given number of microseconds of work before it is done.
// If it returns an error, the work must not be done. Verify then returns the
// error, and the result of Judge is discarded.
type Charge = dsse.Charge

// Free is a Charge for callers without a budget.
func Free(int) error { return nil }

// HashedPerMicrosecond is the number of bytes hashed per microsecond.
const HashedPerMicrosecond = 320

// A Signer is a required signer. Exactly one of Identity, Keys and PGP is set.
type Signer struct {
	Identity sigstore.Identity // of a certificate
	// Weight is the cost of comparing one byte with the identity, relative to a
	// plain comparison.
	Weight int
	Keys   []*dsse.Key
	PGP    *helm.Keyring

	Threshold int  // number of keys that must have signed
	Root      Root // for certificates, log entries and timestamps
	Need      sigstore.Requirements

	// Artifact is the artifact that the document must be about. Nil: any.
	Artifact *sigstore.Artifact
}

// A Root is a trusted root in force.
type Root struct {
	Name    string
	Trusted *sigstore.TrustedRoot // nil: not in force
	Expired error                 // why the root is too old to use; nil: usable
}

// Use returns the trusted root, or an error if the root is expired or not in
// force.
func (r *Root) Use() (*sigstore.TrustedRoot, error) {
	switch {
	case r.Trusted == nil:
		return nil, fmt.Errorf("trusted root %s is not in force", r.Name)
	case r.Expired != nil:
		return nil, r.Expired
	}
	return r.Trusted, nil
}

// Trust contains all keys and roots that a policy trusts.
type Trust struct {
	Keys  []*dsse.Key // distinct, at most sigstore.MaxKeys
	PGP   []*helm.Keyring
	Roots []Root
}

// A Proof is the result of verifying signatures.
type Proof struct {
	Result      string // entry.Verified, entry.Unverified or entry.Failed
	Signers     []entry.Signer
	Claims      map[string]string // of the certificate
	TrustedRoot string            // digest of the root; "" if none was used
	Reason      string

	KeyName string // of the first key that signed; "": a certificate

	// Format-specific details, nil for other formats.
	Bundle   *sigstore.Verified
	Envelope *dsse.Result
	Chart    *helm.Provenance
}

// Verified returns a proof that by have signed.
func Verified(reason string, by ...entry.Signer) *Proof {
	return &Proof{Result: entry.Verified, Signers: by, Reason: reason}
}

// Unverified returns a proof for signatures that could not be verified but may
// be valid.
func Unverified(format string, args ...any) *Proof {
	return &Proof{Result: entry.Unverified, Reason: fmt.Sprintf(format, args...)}
}

// Failed returns a proof for invalid signatures.
func Failed(format string, args ...any) *Proof {
	return &Proof{Result: entry.Failed, Reason: fmt.Sprintf(format, args...)}
}

// KeysOnly returns an error unless the signer suits documents that are signed
// with keys and never have log entries or timestamps. what names such a
// document, as in "a COSE statement".
func (s *Signer) KeysOnly(what string) error {
	switch {
	case len(s.Keys) == 0:
		return fmt.Errorf("%s is signed with a key, but the signer has none", what)
	case s.Need.LogEntries != sigstore.None:
		return fmt.Errorf("%s has no log entry, which the signer requires: allow it with require: {log_entries: 0}", what)
	case s.Need.Timestamps != sigstore.None:
		return fmt.Errorf("%s has no timestamp, which the signer requires", what)
	}
	return nil
}

// JudgeKeys judges signatures made with raw keys. A signature by an unknown key
// is unverified, because it may be valid. A signature that claims one of the
// keys but does not verify with it is invalid. try verifies with the given
// keys, and claims reports whether a signature claims to be made with a key.
func JudgeKeys(t *Trust, try func([]*dsse.Key) ([]entry.Signer, error), claims func(*dsse.Key) bool) *Proof {
	if len(t.Keys) == 0 {
		return Unverified("signed with a key, but the policy has no keys")
	}
	by, err := try(t.Keys)
	switch {
	case err == nil:
		return Verified("only the signature was verified", by...)
	case errors.Is(err, dsse.ErrUnsupported):
		return Unverified("%s", err)
	}
	for _, k := range t.Keys {
		if claims(k) {
			return Failed("claims to be signed with key %s, which does not verify it: %s", k, err)
		}
	}
	return Unverified("not signed with any of the policy's keys")
}

// CostOfKeys returns the cost in microseconds of trying one signature of a
// payload with each key.
func CostOfKeys(keys []*dsse.Key, payload []byte) int {
	return 1000 + dsse.Cost(keys) + len(payload)/HashedPerMicrosecond
}

// ClaimsKey reports whether one of the unsigned claims names the key.
func ClaimsKey(claimed []entry.Signer, k *dsse.Key) bool {
	for _, s := range claimed {
		if s.KeyID == k.ID || s.KeyID == strings.TrimPrefix(k.ID, "sha256:") {
			return true
		}
	}
	return false
}
