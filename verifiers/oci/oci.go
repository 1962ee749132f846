// Package oci finds and verifies the attachments of images and charts in OCI
// registries.
//
// It searches three places: the referrers of the distribution specification
// (its API, or the fallback tag,
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers),
// cosign's older tags
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md), and
// the attestation manifests that BuildKit puts into an image's index
// (https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md),
// which are unsigned.
//
// A registry's responses are not trusted. Their size and number are bounded,
// and only signatures count.
package oci

import (
	"errors"

	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/helm"
)

// Limits for one reference.
const (
	// bytes of a manifest, index or list of referrers; registries may refuse
	// larger ones
	MaxManifest     = 4 << 20
	MaxBlob         = 128 << 20 // bytes of a bundle, envelope or statement
	MaxTotal        = 2 << 30   // bytes of all blobs
	MaxPages        = 64        // of a list of referrers
	MaxArtifacts    = 128       // manifests of platforms
	MaxAttestations = 1024      // in total
)

// ErrTooMuch is wrapped by errors about responses that exceed a limit.
var ErrTooMuch = errors.New("above the limit")

// ErrUnusable is wrapped by errors about attachments that the registry lists
// but does not provide.
var ErrUnusable = errors.New("unusable")

func unusable(err error) error { return &unusableError{err} }

// An unusableError is an ErrUnusable without its text, which the result of a
// finding has.
type unusableError struct{ error }

func (e *unusableError) Unwrap() []error { return []error{e.error, ErrUnusable} }

// ErrNotFound is wrapped by errors about content that a registry does not have.
var ErrNotFound = errors.New("the registry does not have it")

// An Artifact is a manifest or index that can have attachments.
type Artifact struct {
	Digest    string `json:"digest"`             // sha256:…
	MediaType string `json:"mediaType"`          // of the manifest
	Platform  string `json:"platform,omitempty"` // such as linux/arm64, if the index specifies it
	Chart     *Chart `json:"chart,omitempty"`    // if it is a Helm chart
}

// A Chart describes a Helm chart as its manifest does
// (https://helm.sh/docs/topics/registries/).
type Chart struct {
	Archive    string `json:"archive"`              // digest of the .tgz
	Provenance string `json:"provenance,omitempty"` // digest of the .prov, if any
}

// A Source is the place where an attestation was found.
type Source string

const (
	SourceReferrers    Source = "referrers"     // the registry's list
	SourceReferrersTag Source = "referrers-tag" // the fallback tag
	SourceCosignTag    Source = "cosign-tag"    // a tag of cosign's older scheme
	SourceBuildKit     Source = "buildkit"      // the image's own index
	SourceIndex        Source = "index"         // an index that lists a missing manifest
	SourceChart        Source = "chart"         // the chart's own manifest
)

// Media types of attachments, besides those of bundles, envelopes and
// statements.
const (
	mediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaTypeChartConfig   = "application/vnd.cncf.helm.config.v1+json"
	mediaTypeChart         = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	mediaTypeProvenance    = helm.MediaType
)

// An Attachment is a document that is attached to an artifact.
type Attachment struct {
	Artifact  *Artifact
	Source    Source
	Manifest  string // digest of the manifest that contains it
	Digest    string // of Data, or of the manifest if it has no readable layer
	MediaType string // of Data, or the manifest's artifact type
	Data      []byte // nil if its type is not supported

	annotations map[string]string // with cosign's tags, they contain the signature
}

// readable reports whether a layer can be verified or parsed.
func readable(mediaType string) bool {
	return mediaType == mediaTypeSimpleSigning || format.Of(mediaType) != nil
}
