// Package chartindex verifies Helm charts against index files, each of which
// refers to a Sigstore bundle.
//
//	chart: gateway-1.7.0
//	provenance: slsa-v1
//	signature: cosign:sha256:2cf24dba…
package chartindex

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/oci"
	"muniment.dev/muniment/verifiers/sigstore"
)

// MaxSize is the size limit of an index file in bytes.
const MaxSize = 1 << 20

// An Index is a parsed index file. It proves nothing by itself.
type Index struct {
	Chart         string // name-version
	PredicateType string
	Bundle        string // digest of the Sigstore bundle, sha256:…
}

// predicateTypes maps the names of provenance in index files to predicate
// types.
var predicateTypes = map[string]string{"slsa-v1": intoto.SLSAProvenanceV1, "slsa-v0.2": intoto.SLSAProvenanceV02}

// Parse parses an index file. The error wraps helm.ErrMalformed and names the
// invalid member.
func Parse(text []byte) (*Index, error) {
	x, err := parse(text)
	if err != nil {
		return nil, plain.Malformed(helm.ErrMalformed, "index file", err)
	}
	return x, nil
}

func parse(text []byte) (*Index, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("more than %d bytes", MaxSize)
	}
	members, err := helm.OnlyTexts(text, "chart", "provenance", "signature")
	if err != nil {
		return nil, err
	}
	chart, provenance, signature := members["chart"], members["provenance"], members["signature"]
	x := &Index{Chart: chart, PredicateType: predicateTypes[provenance]}
	digest, ok := strings.CutPrefix(signature, "cosign:")
	x.Bundle = "sha256:" + strings.TrimPrefix(digest, "sha256:")
	switch _, err := sigstore.ArtifactDigest(x.Bundle); {
	case chart == "":
		return nil, errors.New("chart: missing: specify the chart's name and version, such as gateway-1.7.0")
	case provenance == "":
		return nil, errors.New("provenance: missing: specify slsa-v1 or slsa-v0.2")
	case x.PredicateType == "":
		return nil, fmt.Errorf("provenance: must be one of %s, not %q", strings.Join(slices.Sorted(maps.Keys(predicateTypes)), ", "), provenance)
	case signature == "":
		return nil, errors.New("signature: missing: specify cosign: and the digest of the bundle")
	case !ok || err != nil:
		return nil, fmt.Errorf("signature: must be cosign:sha256: and the 64 hexadecimal digits of the bundle's digest, not %q", signature)
	}
	x.Bundle = strings.ToLower(x.Bundle)
	return x, nil
}

// ErrNotFound is wrapped by errors of a Resolver that cannot find a digest.
var ErrNotFound = errors.New("not found")

// A Resolver returns the bundle or the chart manifest (of a registry) with a
// digest (sha256:…). It checks the digest.
type Resolver func(ctx context.Context, digest string) ([]byte, error)

// A Result describes how a chart was verified.
type Result struct {
	Index   *Index
	Proof   *evidence.Proof
	Subject string // digest of the bundle's subject: the archive, or the manifest
	// digest of the manifest that contains the archive; "" if the archive is
	// the subject
	Manifest string
}

// Verify resolves and verifies the bundle, and checks that it is about the
// archive, or about the registry manifest that contains the archive. The latter
// is what cosign attests, and requires a resolver that can also find the
// manifest. An error that wraps helm.ErrNotVerified or helm.ErrMalformed is a
// verdict.
func (x *Index) Verify(ctx context.Context, a *helm.Archive, resolve Resolver, signer *evidence.Signer) (*Result, error) {
	if x.Chart != a.String() {
		return nil, x.no("the archive contains the chart %s, but the index file is for %s", a, x.Chart)
	}
	data, err := resolve(ctx, x.Bundle)
	if errors.Is(err, ErrNotFound) {
		return nil, x.no("cannot find the bundle %s", x.Bundle)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", x.Bundle, err)
	}
	d, err := format.Bundle.Read(data)
	if err != nil {
		return nil, x.wrong(err)
	}
	r := &Result{Index: x}
	if r.Subject, r.Manifest, err = x.subject(ctx, d.Subjects, a, resolve); err != nil {
		return nil, err
	}
	by := *signer
	if by.Artifact, err = sigstore.ArtifactDigest(r.Subject); err != nil {
		return nil, err
	}
	if r.Proof, err = d.Verify(&by, evidence.Free); err != nil {
		return nil, x.wrong(err)
	}
	if got := predicateType(d); got != x.PredicateType {
		return nil, x.no("the bundle has the predicate type %q, but the index file requires %q", got, x.PredicateType)
	}
	return r, nil
}

func predicateType(d *evidence.Document) string {
	if d.Statement == nil {
		return ""
	}
	return d.Statement.PredicateType
}

func (x *Index) no(format string, args ...any) error {
	return fmt.Errorf("index file: %w: %s", helm.ErrNotVerified, fmt.Sprintf(format, args...))
}

// wrong returns the verdict for an error about the bundle.
func (x *Index) wrong(err error) error {
	return fmt.Errorf("index file: bundle %s: %w: %w", x.Bundle, helm.ErrNotVerified, err)
}

// maxManifests limits how many subjects are resolved as manifests.
const maxManifests = 16

// subject returns the digest of the bundle's subject that is the archive or the
// manifest that contains it.
func (x *Index) subject(ctx context.Context, subjects []entry.Subject, a *helm.Archive, resolve Resolver) (subject, manifest string, err error) {
	var digests []string
	for _, s := range subjects {
		if d := "sha256:" + s.Digest["sha256"]; d == a.Digest {
			return a.Digest, "", nil
		} else if s.Digest["sha256"] != "" && len(digests) < maxManifests {
			digests = append(digests, d)
		}
	}
	for _, d := range digests {
		data, err := resolve(ctx, d)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("manifest %s: %w", d, err)
		}
		if c := oci.ParseChart(data); c != nil && c.Archive == a.Digest {
			return d, d, nil
		}
	}
	return "", "", x.no("the bundle is about %s, which is neither the archive %s nor an available manifest that contains it", strings.Join(digests, ", "), a.Digest)
}

// Folder returns a resolver for the files in a folder and for the lines of its
// JSON Lines files. It ignores file names, large files and subfolders.
func Folder(dir string) Resolver {
	return func(ctx context.Context, digest string) ([]byte, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if info, err := e.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > sigstore.MaxBundleSize {
				continue
			}
			data, err := bounded.ReadFileIn(root, e.Name(), sigstore.MaxBundleSize)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, bounded.ErrTooLarge) || errors.Is(err, bounded.ErrNotRegular) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if entry.SHA256(data) == digest {
				return data, nil
			}
			several, err := documents.Split(data)
			if err != nil {
				continue
			}
			for _, one := range several {
				if entry.SHA256(one) == digest {
					return one, nil
				}
			}
		}
		return nil, fmt.Errorf("no file in %s has the digest %s: %w", dir, digest, ErrNotFound)
	}
}

// Repository returns a resolver for the blobs and manifests of a repository in
// a registry.
func Repository(r *oci.Registry) Resolver {
	return func(ctx context.Context, digest string) ([]byte, error) {
		data, err := r.Blob(ctx, digest)
		if errors.Is(err, oci.ErrNotFound) {
			data, err = r.Manifest(ctx, digest)
		}
		if errors.Is(err, oci.ErrNotFound) {
			return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return data, err
	}
}
