package sigstore

import (
	"crypto"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

// ErrNotVerified is wrapped by errors that are a verdict about the bundle.
var ErrNotVerified = errors.New("not verified")

// MaxKeys is the maximum number of keys of a verifier. A bundle's hint about
// its key is unsigned, so it may be necessary to try them all.
const MaxKeys = 64

// A Verifier verifies bundles that are signed with certificates, or with one of
// its keys, and that meet its requirements. Goroutines can share it.
type Verifier struct {
	root *TrustedRoot
	keys []*dsse.Key
	need Requirements
}

// NewCertificateVerifier returns a verifier for bundles signed with a
// certificate that an authority of the trusted root issued. Use Identity.Check
// to compare the identity in the certificate.
func NewCertificateVerifier(trusted *TrustedRoot, need Requirements) (*Verifier, error) {
	if trusted == nil {
		return nil, errors.New("certificates cannot be verified without a trusted root")
	}
	if err := need.check(false); err != nil {
		return nil, err
	}
	return &Verifier{root: trusted, need: need}, nil
}

// NewKeyVerifier returns a verifier for bundles signed with one of the keys.
// The trusted root can be nil if neither log entries nor timestamps are
// required.
func NewKeyVerifier(keys []*dsse.Key, trusted *TrustedRoot, need Requirements) (*Verifier, error) {
	switch {
	case len(keys) == 0:
		return nil, errors.New("no keys")
	case len(keys) > MaxKeys:
		return nil, fmt.Errorf("%d keys, more than %d", len(keys), MaxKeys)
	}
	if err := need.check(true); err != nil {
		return nil, err
	}
	if trusted == nil && need.needsRoot() {
		return nil, errors.New("log entries and timestamps cannot be verified without a trusted root")
	}
	return &Verifier{root: trusted, keys: slices.Clone(keys), need: need}, nil
}

// Verified contains the signer and the content of a verified bundle. The
// signature, or a service of the trusted root, vouches for each field.
type Verified struct {
	Signer  entry.Signer
	KeyName string // as in dsse.Key
	// Fulcio's certificate extensions, named as in sigstore-go's verification
	// result
	Claims        map[string]string
	Subjects      []entry.Subject
	PredicateType string
	PayloadType   string            // of the DSSE envelope, "" if the signature is a bare one
	Payload       []byte            // of the DSSE envelope
	Statement     *intoto.Statement // nil unless the payload is one; its predicate is not checked
	Unread        error             // as in Bundle
	Timestamps    []Timestamp
	LogEntries    []LogEntry // the verified ones; empty if none are required
	TrustedRoot   string     // digest of the trusted root; "" if none was used
	// SignedTimes are the signed times by section 5, step 5, of
	// docs/spec/sigstore-verification.md, ascending, each once. Only
	// Trust.Verify sets them, and only for certificates.
	SignedTimes []time.Time
}

// Sources of a Timestamp.
const (
	SourceLog       = "log"
	SourceAuthority = "timestamp-authority"
	SourceClock     = "clock" // the time of the verification
)

// A Timestamp is a time at which the signature existed.
type Timestamp struct {
	Time   time.Time `json:"time"`
	Source string    `json:"source"`
	URI    string    `json:"uri,omitempty"` // of the log or authority, from the trusted root
}

// A LogEntry is an entry of a transparency log.
type LogEntry struct {
	Log string `json:"log"` // URL, from the trusted root
	// for Rekor v1 with an inclusion promise: across the shards of the log
	Index int64 `json:"index"`
}

// Verify returns the signer and the content of the bundle. If an artifact is
// given, the bundle must be about it. Otherwise Verify checks a bare signature
// against the digest in the bundle, and an envelope's signature against its
// payload. An error that wraps ErrNotVerified is a verdict. Any other error
// means that the artifact could not be read.
func (v *Verifier) Verify(b *Bundle, a *Artifact) (*Verified, error) {
	out, err := v.verify(b, a)
	var failed *readError
	if errors.As(err, &failed) {
		return nil, failed.error
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotVerified, plain.DecodeError(err))
	}
	return out, nil
}

// A readError is an error reading the artifact, not a verdict.
type readError struct{ error }

// Reason returns the text of a verification error without the common prefix.
func Reason(err error) string { return strings.TrimPrefix(err.Error(), ErrNotVerified.Error()+": ") }

// CheckMaterial returns an error unless the bundle was signed with a key, or
// with a certificate if key is false.
func (b *Bundle) CheckMaterial(key bool) error {
	switch {
	case !key && b.hasKey():
		return errors.New("the bundle was signed with a key, not with a certificate: give the public key")
	case key && !b.hasKey():
		return errors.New("the bundle was signed with a certificate, not with a key")
	}
	return nil
}

func (v *Verifier) verify(b *Bundle, a *Artifact) (*Verified, error) {
	if err := b.CheckMaterial(len(v.keys) > 0); err != nil {
		return nil, err
	}
	if a != nil && !a.IsOneOf(b.Subjects) {
		return nil, b.wrongArtifact(a)
	}
	if err := v.need.precheck(b.entity); err != nil {
		return nil, err
	}
	if v.root == nil || len(v.keys) > 0 && !v.need.needsRoot() {
		return v.verifyWith(b, a, nil)
	}
	var failed error
	for _, trusted := range v.root.all {
		out, err := v.verifyWith(b, a, trusted)
		var unread *readError
		if err == nil || errors.As(err, &unread) {
			return out, err
		}
		// If the root has the certificate's authority, its reason is more
		// helpful.
		if failed == nil || trusted.knows(b) {
			failed = err
		}
	}
	return nil, failed
}

// verifyWith verifies with one trusted root, or with none.
func (v *Verifier) verifyWith(b *Bundle, a *Artifact, trusted *TrustedRoot) (*Verified, error) {
	out := &Verified{Subjects: b.Subjects, PredicateType: b.PredicateType, PayloadType: b.PayloadType, Payload: b.Payload, Statement: b.Statement, Unread: b.Unread}
	var material root.TrustedMaterial = &root.BaseTrustedMaterial{}
	if trusted != nil {
		material, out.TrustedRoot = trusted.material, trusted.digest
	}
	if len(v.keys) == 0 {
		if err := v.withCertificate(out, b, material); err != nil {
			return nil, err
		}
		return out, nil
	}
	k, err := b.signedBy(v.keys, a)
	if err == nil {
		err = v.withKey(out, b, k, trusting(k, material, a.message))
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (b *Bundle) wrongArtifact(a *Artifact) error {
	switch {
	case b.digest != nil && a.digests[b.digest.algorithm] == nil:
		return fmt.Errorf("the signature is over a %s digest: specify the artifact itself", b.digest.algorithm)
	case b.digest != nil:
		return fmt.Errorf("the artifact is %s, but the signature is over another one", a.Digest())
	case len(b.Subjects) == 0:
		return fmt.Errorf("the bundle signs a document of type %q, which names no artifact", b.PayloadType)
	default:
		return fmt.Errorf("the artifact %s is not a subject of the statement", a.Digest())
	}
}

func (v *Verifier) withCertificate(out *Verified, b *Bundle, material root.TrustedMaterial) error {
	content, err := b.entity.VerificationContent()
	if err != nil {
		return err
	}
	cert := content.Certificate()
	if now := time.Now(); v.need.CurrentTime && (now.Before(cert.NotBefore) || now.After(cert.NotAfter)) {
		return fmt.Errorf("the certificate is not valid now, only from %s to %s", cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339))
	}
	result, err := v.run(out, b, material, cert.PublicKey)
	if err != nil {
		return err
	}
	summary := result.Signature.Certificate
	out.Signer = entry.Signer{Identity: summary.SubjectAlternativeName, Issuer: summary.Issuer}
	out.Claims, err = claims(summary.Extensions)
	return err
}

func (v *Verifier) withKey(out *Verified, b *Bundle, k *dsse.Key, material root.TrustedMaterial) error {
	if _, err := v.run(out, b, material, k.Public(), verify.WithKey()); err != nil {
		return err
	}
	out.Signer, out.KeyName = entry.Signer{KeyID: k.ID}, k.Name
	return nil
}

// run verifies the signature and its accompanying material with sigstore-go,
// and fills in the times and log entries.
func (v *Verifier) run(out *Verified, b *Bundle, material root.TrustedMaterial, public crypto.PublicKey, more ...verify.PolicyOption) (*verify.VerificationResult, error) {
	over := verify.WithoutArtifactUnsafe() // the statement's subjects have already been compared
	if b.digest != nil {
		if err := b.digest.check(public); err != nil {
			return nil, err
		}
		over = verify.WithArtifactDigest(b.digest.algorithm, b.digest.value)
	}
	if len(more) == 0 {
		more = append(more, verify.WithoutIdentitiesUnsafe()) // Identity compares them instead
	}
	verifier, err := verify.NewVerifier(material, v.need.options()...)
	if err != nil {
		return nil, err
	}
	result, err := verifier.Verify(b.entity, verify.NewPolicy(over, more...))
	if err != nil {
		return nil, err
	}
	for _, t := range result.VerifiedTimestamps {
		source := map[string]string{"Tlog": SourceLog, "TimestampAuthority": SourceAuthority}[t.Type]
		if source == "" {
			source = SourceClock
		}
		out.Timestamps = append(out.Timestamps, Timestamp{t.Timestamp.UTC(), source, t.URI})
	}
	if v.need.LogEntries == None {
		return result, nil
	}
	var logs int
	if out.LogEntries, logs = verifiedEntries(b.entity, material, out.Timestamps); logs < int(v.need.LogEntries) {
		return nil, fmt.Errorf("the trusted root does not trust the log's key at the signing time: entries of %d logs are valid, but %d are required", logs, v.need.LogEntries)
	}
	return result, nil
}

// precheck returns an error if the bundle lacks a required part, with a clearer
// message than sigstore-go's, or violates a rule that sigstore-go does not
// check.
func (r Requirements) precheck(e *entity) error {
	if r.LogEntries != None && len(e.entries) == 0 {
		return errors.New("the bundle has no log entry, but one is required")
	}
	for i, entry := range e.entries {
		pb := entry.TransparencyLogEntry()
		if r.LogEntries != None && entry.IsRekorV2() && pb.GetLogIndex() != pb.GetInclusionProof().GetLogIndex() {
			// sigstore-go uses only one of the two
			return fmt.Errorf("tlogEntries[%d]: the entry and its inclusion proof have different indexes", i)
		}
	}
	stamps, err := e.Timestamps()
	if r.Timestamps == None || err != nil || len(stamps) > 0 {
		return err
	}
	if r.SignedTimestamps {
		return errors.New("the bundle has no RFC 3161 timestamp, but one is required")
	}
	if r.LogEntries == None || !slices.ContainsFunc(e.entries, (*tlog.Entry).HasInclusionPromise) {
		return errors.New("cannot establish the signing time, which is required: the bundle has no RFC 3161 timestamp and no log entry with a signed time: sign with a timestamp authority")
	}
	return nil
}

func (r Requirements) options() []verify.VerifierOption {
	var o []verify.VerifierOption
	if r.LogEntries != None {
		o = append(o, verify.WithTransparencyLog(int(r.LogEntries)))
	}
	switch {
	case r.CurrentTime:
		o = append(o, verify.WithCurrentTime())
	case r.Timestamps == None:
		o = append(o, verify.WithNoObserverTimestamps())
	case r.SignedTimestamps:
		o = append(o, verify.WithSignedTimestamps(int(r.Timestamps)))
	default:
		o = append(o, verify.WithObserverTimestamps(int(r.Timestamps)))
	}
	if r.SCTs != None {
		o = append(o, verify.WithSignedCertificateTimestamps(int(r.SCTs)))
	}
	return o
}

// verifiedEntries returns the valid log entries and the number of their logs.
// sigstore-go skips some entries, such as those of unknown logs.
func verifiedEntries(e *entity, material root.TrustedMaterial, times []Timestamp) (entries []LogEntry, logs int) {
	seen := map[string]bool{}
	for _, entry := range e.entries {
		if _, err := verify.VerifyTlogEntry(e.withEntry(entry), material, 1, false); err != nil {
			continue
		}
		log, index := material.RekorLogs()[hex.EncodeToString([]byte(entry.LogKeyID()))], entry.LogIndex()
		if !entry.HasInclusionPromise() {
			// Only an inclusion promise contains the index across the shards of
			// Rekor v1, and a time at which sigstore-go checks that the log's
			// key is trusted.
			if !trustedAt(log, times) {
				continue
			}
			index = entry.TransparencyLogEntry().GetInclusionProof().GetLogIndex()
		}
		entries, seen[entry.LogKeyID()] = append(entries, LogEntry{log.BaseURL, index}), true
	}
	return entries, len(seen)
}

// trustedAt reports whether the log's key was valid at one of the trusted
// times. It returns true if there are none.
func trustedAt(log *root.TransparencyLog, times []Timestamp) bool {
	timed := false
	for _, t := range times {
		if t.Source == SourceClock {
			continue
		}
		timed = true
		if (Validity{&log.ValidityPeriodStart, optionalTime(log.ValidityPeriodEnd)}).Contains(t.Time) {
			return true
		}
	}
	return !timed
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// claims returns Fulcio's extensions
// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md) by their JSON
// names.
func claims(e certificate.Extensions) (map[string]string, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	var m map[string]string
	return m, json.Unmarshal(data, &m)
}
