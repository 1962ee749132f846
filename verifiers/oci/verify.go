package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A Policy defines whose signatures count.
type Policy struct {
	Verifier      *sigstore.Verifier // of everything that is signed, also under cosign's older tags
	Identity      *sigstore.Identity // whose certificates; nil if the verifier has keys
	PredicateType string             // only statements of this type count; "": any signature does
}

// Check verifies a bundle about an artifact, and whose certificate it is.
func (p Policy) Check(b *sigstore.Bundle, a *sigstore.Artifact) (*sigstore.Verified, error) {
	v, err := p.Verifier.Verify(b, a)
	if err != nil {
		return nil, err
	}
	if p.Identity != nil {
		if err := p.Identity.Check(v.Signer); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// A Result is the outcome for one attachment.
type Result string

const (
	Verified    Result = "verified"
	NotVerified Result = "not-verified" // it is signed, but not as the policy asks
	Unsigned    Result = "unsigned"     // it has no signature
	// it is not of its media type, or the registry does not have it
	Malformed Result = "malformed"
	Unusable  Result = "unusable" // the registry lists it and does not provide it
	Unread    Result = "unread"   // of a type that is not known here
)

// A Finding is one attachment and its outcome. Claims and PredicateType are
// proven to be the signer's only if Result is Verified.
type Finding struct {
	Source        Source            `json:"source"`
	Manifest      string            `json:"manifest"`
	Digest        string            `json:"digest"` // of the bundle, envelope or statement
	MediaType     string            `json:"mediaType,omitempty"`
	Result        Result            `json:"result"`
	Reason        string            `json:"reason,omitempty"` // for any other result than Verified
	Signer        *entry.Signer     `json:"signer,omitempty"`
	KeyName       string            `json:"keyName,omitempty"`
	PredicateType string            `json:"predicateType,omitempty"`
	Category      intoto.Category   `json:"category,omitempty"`
	Facts         map[string]string `json:"facts,omitempty"`
	// from the definitions of statements and of the predicate's type
	Deviations  []string `json:"deviations,omitempty"`
	TrustedRoot string   `json:"trustedRoot,omitempty"`
	// it is verified, and of the type that was asked for
	Counts bool `json:"counts"`
}

// An ArtifactReport is an artifact with all that is attached to it.
type ArtifactReport struct {
	*Artifact
	Attested bool      `json:"attested"` // something attached to it counts
	Findings []Finding `json:"attestations"`
}

// A Report is the answer about a reference.
type Report struct {
	Reference string `json:"reference"`
	Verified  bool   `json:"verified"`
	// attachments that the registry did not provide: a negative answer is not
	// final
	Unusable  int               `json:"unusable,omitempty"`
	Artifacts []*ArtifactReport `json:"artifacts"` // the first is what the reference names
}

// Verify verifies what is attached to what the reference names. The answer is
// yes if something that counts is attached to it or, if it is an index to which
// nothing of the kind is attached, to each of its platforms' manifests. An
// error means that there is no answer. Keep, if it is not nil, gets everything
// that counts as a bundle; what cosign's older tags hold is made one.
func Verify(ctx context.Context, r *Registry, p Policy, keep func(*Finding, []byte) error) (*Report, error) {
	report := &Report{Reference: r.ref.String()}
	byArtifact := map[*Artifact][]Finding{}
	artifacts, err := r.Each(ctx, func(a *Attachment, problem error) error {
		f, bundle := p.finding(a, problem)
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

func (p Policy) finding(a *Attachment, problem error) (f Finding, bundle []byte) {
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
	case a.MediaType == intoto.MediaType:
		err = f.unsigned(a)
	default:
		bundle, err = p.signed(&f, a)
	}
	switch {
	case err == nil:
	case errors.Is(err, sigstore.ErrNotVerified):
		f.Result, f.Reason = NotVerified, err.Error()
	default:
		f.Result, f.Reason = Malformed, err.Error()
	}
	f.Counts = f.Result == Verified && (p.PredicateType == "" || p.PredicateType == f.PredicateType)
	return f, bundle
}

// unsigned reads a bare statement.
func (f *Finding) unsigned(a *Attachment) error {
	s, err := intoto.Read(a.Data)
	if err != nil {
		return err
	}
	f.Result, f.Reason = Unsigned, "it has no signature"
	f.describe(s)
	if d, err := entry.ParseDigest(a.Artifact.Digest); err != nil || !s.HasSubject(d) {
		f.Reason += "; it is not about this artifact"
	}
	return nil
}

// describe notes what a statement claims. That it deviates from its definition
// does not make its signature worse.
func (f *Finding) describe(s *intoto.Statement) {
	s.Check()
	f.PredicateType, f.Category, f.Facts, f.Deviations = s.PredicateType, s.Category, s.Facts, s.Deviations.Strings()
}

// signed verifies a bundle, or what cosign wrote before there were bundles, and
// returns it as a bundle.
func (p Policy) signed(f *Finding, a *Attachment) ([]byte, error) {
	if a.MediaType == mediaTypeSimpleSigning {
		return p.simplySigned(f, a)
	}
	data := a.Data
	if a.MediaType == dsse.MediaType {
		var err error
		if data, err = toBundle(a); err != nil {
			return nil, err
		}
	}
	artifact, err := sigstore.ArtifactDigest(a.Artifact.Digest)
	if err != nil {
		return nil, err
	}
	b, err := p.bundle(f, data, artifact)
	if err != nil {
		return nil, err
	}
	if b.Statement != nil {
		f.describe(b.Statement)
	}
	f.Result = Verified
	return data, nil
}

// simplySigned verifies a signature that is over a small document, which names
// the artifact.
func (p Policy) simplySigned(f *Finding, a *Attachment) ([]byte, error) {
	data, err := toBundle(a)
	if err != nil {
		return nil, err
	}
	document, err := sigstore.ReadArtifact(bytes.NewReader(a.Data))
	if err != nil {
		return nil, err
	}
	if _, err := p.bundle(f, data, document); err != nil {
		return nil, err
	}
	if err := checkSimpleSigning(a.Data, a.Artifact.Digest); err != nil {
		return nil, fmt.Errorf("%w: %w", sigstore.ErrNotVerified, err)
	}
	f.Result, f.Category = Verified, intoto.SignedBy
	return data, nil
}

// bundle verifies a bundle, and notes who signed it.
func (p Policy) bundle(f *Finding, data []byte, artifact *sigstore.Artifact) (*sigstore.Bundle, error) {
	b, err := sigstore.Parse(data)
	if err != nil {
		return nil, err
	}
	f.PredicateType = b.PredicateType
	v, err := p.Check(b, artifact)
	if err != nil {
		return nil, err
	}
	f.Signer, f.KeyName, f.TrustedRoot = &v.Signer, v.KeyName, v.TrustedRoot
	return b, nil
}
