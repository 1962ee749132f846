package receipt

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"slices"
	"strings"

	"muniment.dev/muniment/ledger/entry"
)

// expectations are validated options.
type expectations struct {
	*Options
	subject entry.Digest
}

// check validates the options of a call.
func (o *Options) check(policies []*TrustPolicy) (*expectations, error) {
	if len(policies) == 0 {
		return nil, fail(PolicyMissing, "no policy given")
	}
	for _, e := range []struct {
		name  string
		value *string
	}{{"tenant", o.Tenant}, {"kind", o.Kind}, {"subject", o.Subject}, {"predicate type", o.PredicateType}, {"control", o.Control}, {"signer", o.Signer}, {"issuer", o.Issuer}} {
		if e.value != nil && *e.value == "" {
			return nil, fail(ExpectationMalformed, "%s: empty: omit it if none is expected", e.name)
		}
	}
	x := &expectations{Options: o}
	if o.Subject != nil {
		var err error
		if x.subject, err = entry.ParseDigest(*o.Subject); err != nil {
			return nil, fail(ExpectationMalformed, "subject: %w", err)
		}
	}
	return x, nil
}

// met performs step 10 and completes the statement.
func (x *expectations) met(s *Statement) error {
	for _, check := range []func(*Statement) error{x.header, x.signature, x.stream, x.external} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

func (x *expectations) header(s *Statement) error {
	h := s.Header
	if h == nil {
		if x.Tenant != nil || x.Kind != nil || x.Subject != nil || x.PredicateType != nil || x.Control != nil || x.Signer != nil || x.Issuer != nil ||
			x.RequireVerified || x.Admitted || x.External != nil {
			return fail(HeaderIsErased, "header: erased, only expectations about the stream can be checked")
		}
		return nil
	}
	switch {
	case x.Tenant != nil && h.Tenant != *x.Tenant:
		return fail(TenantMismatch, "tenant: the entry belongs to %q, not to %q", h.Tenant, *x.Tenant)
	case x.Kind != nil && h.Kind != *x.Kind:
		return fail(KindMismatch, "kind: the entry is of kind %q, not %q", h.Kind, *x.Kind)
	case x.Subject != nil && !slices.ContainsFunc(h.Subjects, func(s entry.Subject) bool { return s.Has(x.subject) }):
		return fail(SubjectMismatch, "subject: %s is not among the entry's subjects (%s)", x.subject, subjectList(h))
	case x.PredicateType != nil && h.PredicateType != *x.PredicateType:
		return fail(PredicateTypeMismatch, "predicate type: the entry has %q, not %q", h.PredicateType, *x.PredicateType)
	case x.Control != nil && !slices.Contains(h.Controls, *x.Control):
		return fail(ControlMismatch, "control: %q is not among the entry's controls %q", *x.Control, h.Controls)
	}
	return nil
}

func (x *expectations) signature(s *Statement) error {
	h := s.Header
	if h == nil {
		return nil
	}
	if (x.RequireVerified || x.Signer != nil || x.Issuer != nil) && h.Verification.Result != entry.Verified {
		return fail(SignatureUnverified, "signature: not verified by the log, whose result is %q", h.Verification.Result)
	}
	if x.Signer != nil || x.Issuer != nil {
		if !slices.ContainsFunc(h.Signers, func(g entry.Signer) bool {
			return (x.Signer == nil || g.Identity == *x.Signer || g.KeyID == *x.Signer) && (x.Issuer == nil || g.Issuer == *x.Issuer)
		}) {
			return fail(SignerMismatch, "signer: not among the entry's signers (%s)", signerList(h))
		}
	}
	if x.Admitted && (h.Admission == nil || h.Admission.Result != entry.Admitted) {
		return fail(NotAdmitted, "admission: the entry was not admitted by a policy")
	}
	return nil
}

func (x *expectations) stream(s *Statement) error {
	if x.StreamKey == nil && x.StreamID == nil {
		return nil
	}
	if s.Link == nil {
		return fail(LinkHidden, "stream: cannot be checked: the receipt is in the form shared, which hides it")
	}
	if x.StreamID != nil && s.Link.StreamID != *x.StreamID {
		return fail(StreamMismatch, "stream: the entry belongs to another stream")
	}
	if x.StreamKey == nil {
		return nil
	}
	if s.Link.StreamID != x.StreamKey.StreamID() {
		return fail(StreamMismatch, "stream: the entry belongs to another stream than the key")
	}
	tag := x.StreamKey.Tag(s.Link.Seq)
	if subtle.ConstantTimeCompare(tag[:], s.Tag[:]) != 1 {
		return fail(TagMismatch, "tag: not that of entry %d of the stream: an audit of the stream would miss the entry", s.Link.Seq)
	}
	s.TagChecked = true
	return nil
}

func (x *expectations) external(s *Statement) error {
	if x.External == nil {
		return nil
	}
	want := s.Header.External
	if want == nil {
		return fail(ExternalUnexpected, "external: the entry's payload is the evidence itself, not a reference")
	}
	h := sha256.New()
	n, err := io.Copy(h, x.External)
	if err != nil {
		return fail(Unreadable, "read the external evidence: %w", err)
	}
	sum := entry.Hash(h.Sum(nil))
	if uint64(n) != want.Size || !entry.CanonicalDigest("sha256", sum.String()).In(want.Digest) {
		return fail(ExternalMismatch, "external: %d bytes with sha256:%s, but the entry refers to %d bytes with %s", n, sum, want.Size, digestList(want.Digest))
	}
	s.ExternalSHA256 = &sum
	return nil
}

func subjectList(h *entry.Header) string {
	var all []string
	for _, s := range h.Subjects {
		for alg, v := range s.Digest {
			all = append(all, alg+":"+v)
		}
	}
	return listOf(all)
}

func signerList(h *entry.Header) string {
	var all []string
	for _, s := range h.Signers {
		who := fmt.Sprintf("%q", s.Name())
		if s.Issuer != "" {
			who += fmt.Sprintf(" of %q", s.Issuer)
		}
		all = append(all, who)
	}
	return listOf(all)
}

func digestList(set map[string]string) string {
	var all []string
	for alg, v := range set {
		all = append(all, alg+":"+v)
	}
	return listOf(all)
}

func listOf(all []string) string {
	slices.Sort(all)
	switch {
	case len(all) == 0:
		return "it has none"
	case len(all) > 3:
		return strings.Join(all[:3], ", ") + fmt.Sprintf(" and %d more", len(all)-3)
	}
	return strings.Join(all, ", ")
}

// ParseStreamKey is [entry.ParseStreamKey]. Its error is an *Error with the
// code StreamKeyMalformed.
func ParseStreamKey(file []byte) (*entry.StreamKey, error) {
	k, err := entry.ParseStreamKey(file)
	if err != nil {
		return nil, fail(StreamKeyMalformed, "%w", err)
	}
	return k, nil
}

// ParseStreamID is [entry.ParseStreamID]. Its error is an *Error with the code
// ExpectationMalformed.
func ParseStreamID(s string) (entry.Hash, error) {
	id, err := entry.ParseStreamID(s)
	if err != nil {
		return id, fail(ExpectationMalformed, "%w", err)
	}
	return id, nil
}
