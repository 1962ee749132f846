package graph

import (
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/intoto"
)

// Evidence is an entry about an artifact.
type Evidence struct {
	// of the artifact to the entry, such as "built-by"
	Relation      string            `json:"category"`
	Index         uint64            `json:"index"`
	Time          Time              `json:"time"`
	Kind          string            `json:"kind"`
	PredicateType string            `json:"predicateType,omitempty"`
	MediaType     string            `json:"mediaType"`
	Verification  string            `json:"verification"`
	Reason        string            `json:"verificationReason,omitempty"`
	Admission     string            `json:"admission,omitempty"`
	Signers       []string          `json:"signers,omitempty"` // identities and key IDs
	Submitter     string            `json:"submitter"`
	Controls      []string          `json:"controls,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
}

// A Time is a time in UTC that is written with milliseconds, the precision of
// entries.
type Time struct{ time.Time }

// MarshalJSON writes the time in RFC 3339.
func (t Time) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z07:00"`), nil
}

// NewEvidence returns an entry as evidence about an artifact.
func NewEvidence(e *munimentv1.Entry) Evidence {
	ev := Evidence{
		Relation: Relation(e.Kind, e.PredicateType, e.MediaType, len(e.Signers) > 0), Index: e.Index, Time: Time{e.Time.AsTime()}, Kind: e.Kind, PredicateType: e.PredicateType, MediaType: e.MediaType,
		Verification: e.Verification, Reason: e.VerificationReason, Admission: e.Admission.GetResult(), Submitter: e.Submitter, Controls: e.Controls, Attributes: e.Attributes,
	}
	for _, s := range e.Signers {
		ev.Signers = append(ev.Signers, strings.TrimSpace(s.Identity+s.KeyId))
	}
	return ev
}

// Summary returns one line about the evidence. It is untrusted text.
func (e *Evidence) Summary() string {
	if k, ok := kinds.Lookup(e.Kind); ok && k.Relation != "" {
		return k.Summary(e.Attributes, e.Controls)
	}
	by := strings.Join(e.Signers, " and ")
	if by == "" {
		by = "from " + e.Submitter
	}
	what := e.PredicateType
	if what == "" {
		what, _, _ = strings.Cut(e.MediaType, ";")
	}
	return by + ", " + what
}

// Expired reports whether the evidence is a request for an exception whose
// expiry is past.
func (e *Evidence) Expired(now time.Time) bool {
	if e.Kind != kindname.ExceptionRequest {
		return false
	}
	expires, err := exception.Expiry(e.Attributes)
	return err == nil && !expires.After(now)
}

// relations of artifacts to entries, in the order in which evidence is listed.
var relations = append([]string{
	string(intoto.BuiltBy), string(intoto.SignedBy), string(intoto.DescribedBy), string(intoto.ScannedBy), string(intoto.TestedBy), string(intoto.VerifiedBy), string(intoto.AssessedBy),
	string(intoto.AttestedBy), string(intoto.RecordedBy),
}, kinds.Relations()...)

// SortByRelation sorts evidence, or views of it, by relation.
func SortByRelation[T any](all []T, relation func(T) string) {
	slices.SortStableFunc(all, func(a, b T) int {
		return slices.Index(relations, relation(a)) - slices.Index(relations, relation(b))
	})
}

// Relation returns the relation of artifacts to an entry about them.
func Relation(kind, predicateType, mediaType string, signed bool) string {
	if k, ok := kinds.Lookup(kind); ok && k.Relation != "" {
		return k.Relation
	}
	switch {
	case predicateType != "":
		return string(intoto.CategoryOf(predicateType))
	case format.Of(mediaType) == format.Bundle, signed:
		return string(intoto.SignedBy)
	default:
		return string(intoto.AttestedBy)
	}
}
