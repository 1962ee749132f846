package oci

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Criteria determine which signatures count.
type Criteria struct {
	Signer        *evidence.Signer
	PredicateType string // only statements of this type count; "": any signature counts
}

// A Result is the outcome for one attachment.
type Result string

const (
	Verified    Result = "verified"
	NotVerified Result = "not-verified" // signed, but not as the criteria require
	Unsigned    Result = "unsigned"     // it has no signature
	// its content does not match its media type, or the registry does not have
	// it
	Malformed Result = "malformed"
	Unusable  Result = "unusable" // the registry lists it but does not provide it
	Unread    Result = "unread"   // its type is not supported
)

// A Finding is the result for one attachment. PredicateType, Category and Facts
// are proven to be the signer's only if Result is Verified.
type Finding struct {
	Source        Source            `json:"source"`
	Manifest      string            `json:"manifest"`
	Digest        string            `json:"digest"` // of the bundle, envelope or statement
	MediaType     string            `json:"mediaType,omitempty"`
	Result        Result            `json:"result"`
	Reason        string            `json:"reason,omitempty"` // for results other than Verified
	Signer        *entry.Signer     `json:"signer,omitempty"`
	KeyName       string            `json:"keyName,omitempty"`
	PredicateType string            `json:"predicateType,omitempty"`
	Category      intoto.Category   `json:"category,omitempty"`
	Facts         map[string]string `json:"facts,omitempty"`
	// from the definitions of statements and of the predicate's type
	Deviations  []string `json:"deviations,omitempty"`
	TrustedRoot string   `json:"trustedRoot,omitempty"`
	// verified, and of the required predicate type
	Counts bool `json:"counts"`
}

// An ArtifactReport is an artifact with its attachments.
type ArtifactReport struct {
	*Artifact
	Attested bool      `json:"attested"` // an attachment counts
	Findings []Finding `json:"attestations"`
}

// A Report is the result for one reference.
type Report struct {
	Reference string `json:"reference"`
	Verified  bool   `json:"verified"`
	// number of attachments that the registry did not provide; one of them
	// could turn a negative result into a positive one
	Unusable  int               `json:"unusable,omitempty"`
	Artifacts []*ArtifactReport `json:"artifacts"` // the first is what the reference names
}

// Verify verifies the attachments of the artifact that the reference names. The
// artifact is verified if one of its attachments counts. An index is also
// verified if an attachment counts for each of its platforms' manifests. An
// error means that there is no result. If keep is not nil, Verify calls it with
// each bundle that counts. It converts signatures under cosign's older tags to
// bundles.
func Verify(ctx context.Context, r *Registry, c Criteria, keep func(*Finding, []byte) error) (*Report, error) {
	report := &Report{Reference: r.ref.String()}
	byArtifact := map[*Artifact][]Finding{}
	artifacts, err := r.Each(ctx, func(a *Attachment, problem error) error {
		f, bundle := c.finding(a, problem)
		if f.Counts && keep != nil {
			if err := keep(&f, bundle); err != nil {
				return err
			}
		}
		byArtifact[a.Artifact] = append(byArtifact[a.Artifact], f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, a := range artifacts {
		ar := &ArtifactReport{Artifact: a, Findings: byArtifact[a]}
		ar.Attested = slices.ContainsFunc(ar.Findings, func(f Finding) bool { return f.Counts })
		for _, f := range ar.Findings {
			if f.Result == Unusable {
				report.Unusable++
			}
		}
		report.Artifacts = append(report.Artifacts, ar)
	}
	report.Verified = report.Artifacts[0].Attested
	if images := slices.DeleteFunc(slices.Clone(report.Artifacts), isIndex); !report.Verified && isIndex(report.Artifacts[0]) && len(images) > 0 {
		report.Verified = !slices.ContainsFunc(images, func(a *ArtifactReport) bool { return !a.Attested })
	}
	return report, nil
}

func isIndex(a *ArtifactReport) bool {
	return types.MediaType(a.MediaType).IsIndex()
}

func (c Criteria) finding(a *Attachment, problem error) (f Finding, bundle []byte) {
	f = Finding{Source: a.Source, Manifest: a.Manifest, Digest: a.Digest, MediaType: a.MediaType}
	err := problem
	switch {
	case errors.Is(problem, ErrUnusable):
		f.Result, f.Reason = Unusable, problem.Error()
		return f, nil
	case problem != nil:
		f.Result = Malformed
	case a.Data == nil:
		f.Result, f.Reason = Unread, "not a bundle, envelope or statement"
	default:
		bundle, err = c.signed(&f, a)
	}
	var verdict *notVerifiedError
	switch {
	case err == nil:
	case errors.As(err, &verdict):
		f.Result, f.Reason = NotVerified, err.Error()
	default:
		f.Result, f.Reason = Malformed, err.Error()
	}
	f.Counts = f.Result == Verified && (c.PredicateType == "" || c.PredicateType == f.PredicateType)
	return f, bundle
}

// describe adds the claims of a statement. Deviations from its definition do
// not affect the signature.
func (f *Finding) describe(s *intoto.Statement) {
	s.Check()
	f.PredicateType, f.Category, f.Facts, f.Deviations = s.PredicateType, s.Category, s.Facts, s.Deviations.Strings()
}

// signed verifies an attachment of a registered format, or one with a cosign
// signature from before bundles existed, which it returns as a bundle.
func (c Criteria) signed(f *Finding, a *Attachment) ([]byte, error) {
	data, of := a.Data, format.Of(a.MediaType)
	if a.MediaType == mediaTypeSimpleSigning || of == format.Envelope {
		var err error
		if data, err = toBundle(a); err != nil {
			return nil, err
		}
		of = format.Bundle
	}
	about, err := sigstore.ArtifactDigest(a.Artifact.Digest)
	if err != nil {
		return nil, err
	}
	if a.MediaType == mediaTypeSimpleSigning {
		// The signature covers a small document that names the artifact.
		if about, err = sigstore.ReadArtifact(bytes.NewReader(a.Data)); err != nil {
			return nil, err
		}
	}
	d, err := of.Read(data)
	if err != nil {
		return nil, err
	}
	if d.Signed == nil {
		f.unsigned(d, about)
		return nil, nil
	}
	if d.Statement != nil {
		f.PredicateType = d.Statement.PredicateType
	}
	by := *c.Signer
	by.Artifact = about
	proof, err := d.Verify(&by, evidence.Free)
	if err == nil && a.MediaType == mediaTypeSimpleSigning {
		err = checkSimpleSigning(a.Data, a.Artifact.Digest)
	}
	if err != nil {
		return nil, &notVerifiedError{err}
	}
	f.Result, f.KeyName, f.TrustedRoot = Verified, proof.KeyName, proof.TrustedRoot
	if len(proof.Signers) > 0 {
		f.Signer = &proof.Signers[0]
	}
	switch {
	case a.MediaType == mediaTypeSimpleSigning:
		f.Category = intoto.SignedBy
	case d.Statement != nil:
		f.describe(d.Statement)
	case d.Unread != nil:
		f.Deviations = []string{d.Unread.Error()}
	}
	return data, nil
}

// unsigned describes a document without signatures.
func (f *Finding) unsigned(d *evidence.Document, about *sigstore.Artifact) {
	f.Result, f.Reason = Unsigned, "it has no signature"
	subjects := d.Subjects
	if d.Statement != nil {
		f.describe(d.Statement)
		subjects = d.Statement.Subjects
	}
	if !about.IsOneOf(subjects) {
		f.Reason += "; it is not about this artifact"
	}
}

// A notVerifiedError is a verdict about signatures.
type notVerifiedError struct{ error }

func (e *notVerifiedError) Unwrap() error { return e.error }
