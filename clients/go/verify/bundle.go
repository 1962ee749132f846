package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/sigstore"
)

// BundleOptions are the inputs for a Sigstore bundle besides the configuration.
type BundleOptions struct {
	// Artifact is what was signed. A bare signature requires it. It is read
	// twice. nil: see ArtifactSHA256.
	Artifact io.ReadSeeker
	// ArtifactSHA256 is the SHA-256 of the artifact, which is enough for
	// envelopes. nil: with no artifact either, the report has the warning
	// artifact-not-checked.
	ArtifactSHA256 *[32]byte
}

// WarnArtifactNotChecked is the warning of a bundle without an artifact.
const WarnArtifactNotChecked = "artifact-not-checked"

// A BundleResult is what a Sigstore bundle proves, and what its signer claims.
type BundleResult struct {
	Proven  BundleProven  // what follows from signatures by trusted keys, and from hashes
	Claimed BundleClaimed // what the signer asserts, and nothing else supports
}

// BundleProven is what a Sigstore bundle proves. Digests are in hexadecimal.
type BundleProven struct {
	BundleSHA256 string       `json:"bundleSha256"` // of the bundle
	Signer       entry.Signer `json:"signer"`       // key or identity that signed
	// Times are the signed times in Unix milliseconds. A key has none.
	Times          []int64 `json:"times,omitempty"`
	ArtifactSHA256 string  `json:"artifactSha256,omitempty"` // empty if no artifact was given
	PayloadType    string  `json:"payloadType,omitempty"`    // of the envelope
	PayloadSHA256  string  `json:"payloadSha256,omitempty"`  // of the envelope
}

// BundleClaimed is what the statement in a Sigstore bundle claims. It is zero
// for other content.
type BundleClaimed struct {
	PredicateType string `json:"predicateType,omitempty"` // empty unless the content is a statement
	Subjects      int    `json:"subjects,omitempty"`      // number
}

// Bundle verifies a Sigstore bundle of at most 268,435,456 bytes by the trusted
// keys and identities. The codes are those of
// docs/spec/sigstore-verification.md, section 5. The error is that of the
// context.
func (v *Verifier) Bundle(ctx context.Context, f *File, o BundleOptions) (*Report, error) {
	c := v.config
	if c.byIdentity == nil && c.byKey == nil {
		return failure(f, SigstoreBundle, "policy-missing", "the configuration has no trustedKeys and no identities: anybody can sign a bundle"), nil
	}
	artifact, err := o.artifact()
	if err != nil {
		return ended(ctx, failure(f, SigstoreBundle, CodeUnreadable, "artifact: "+reason(err)))
	}
	data, err := f.read(sigstore.MaxBundleSize)
	switch {
	case errors.Is(err, bounded.ErrTooLarge):
		return refusal(f, SigstoreBundle, "bundle-malformed", 1, reason(err)), nil
	case err != nil:
		return ended(ctx, failure(f, SigstoreBundle, CodeUnreadable, reason(err)))
	}
	verified, err := c.trusted(data, artifact)
	if err != nil {
		return ended(ctx, bundleRefusal(f, err))
	}
	var warnings []string
	if artifact == nil {
		warnings = append(warnings, WarnArtifactNotChecked)
	}
	return ended(ctx, success(f, SigstoreBundle, warnings, func(r *Report) {
		r.Bundle = bundleResult(data, artifact, verified)
	}))
}

func (o *BundleOptions) artifact() (*sigstore.Artifact, error) {
	switch {
	case o.Artifact != nil:
		return sigstore.ReadArtifact(o.Artifact)
	case o.ArtifactSHA256 != nil:
		return sigstore.ArtifactDigest("sha256:" + hexOf(*o.ArtifactSHA256))
	}
	return nil, nil
}

// trusted verifies a bundle by the identities, or else by the keys.
func (c *Config) trusted(data []byte, artifact *sigstore.Artifact) (*sigstore.Verified, error) {
	if c.byIdentity == nil {
		return c.byKey.Verify(data, artifact)
	}
	verified, err := c.byIdentity.Verify(data, artifact)
	var r *sigstore.Refusal
	if c.byKey != nil && errors.As(err, &r) && r.Code == "material-mismatch" {
		return c.byKey.Verify(data, artifact)
	}
	return verified, err
}

func bundleRefusal(f *File, err error) *Report {
	var r *sigstore.Refusal
	switch {
	case !errors.As(err, &r):
		return failure(f, SigstoreBundle, CodeUnreadable, reason(err))
	case r.NotChecked():
		return failure(f, SigstoreBundle, string(r.Code), plain.DecodeError(r.Err).Error())
	}
	return refusal(f, SigstoreBundle, string(r.Code), sigstore.Steps[r.Code], plain.DecodeError(r.Err).Error())
}

func bundleResult(data []byte, artifact *sigstore.Artifact, verified *sigstore.Verified) *BundleResult {
	r := &BundleResult{Proven: BundleProven{BundleSHA256: hexOf(sha256.Sum256(data)), Signer: verified.Signer, PayloadType: verified.PayloadType}}
	for _, t := range verified.SignedTimes {
		r.Proven.Times = append(r.Proven.Times, t.UnixMilli())
	}
	if artifact != nil {
		r.Proven.ArtifactSHA256 = artifact.Digest()[len("sha256:"):]
	}
	if verified.PayloadType != "" {
		r.Proven.PayloadSHA256 = hexOf(sha256.Sum256(verified.Payload))
		if predicateType, subjects, err := sigstore.StatementClaims(verified.PayloadType, verified.Payload); err == nil {
			r.Claimed = BundleClaimed{predicateType, subjects}
		}
	}
	return r
}
