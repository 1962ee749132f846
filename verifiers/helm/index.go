package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/oci"
	"muniment.dev/muniment/verifiers/sigstore"
)

// An Index is an index file: which chart, what kind of provenance it has, and
// where the signed statement of it is. It proves nothing by itself.
//
//	chart: gateway-1.7.0
//	provenance: slsa-v1
//	signature: cosign:sha256:2cf24dba…
type Index struct {
	Chart         string // name-version
	PredicateType string
	Bundle        string // digest of the Sigstore bundle, sha256:…
}

// predicateTypes are what index files call the types of provenance.
var predicateTypes = map[string]string{"slsa-v1": intoto.SLSAProvenanceV1, "slsa-v0.2": intoto.SLSAProvenanceV02}

// ParseIndex reads an index file. The error wraps ErrMalformed and names the
// member that is wrong.
func ParseIndex(text []byte) (*Index, error) {
	x, err := parseIndex(text)
	if err != nil {
		return nil, &malformedError{"index file", err}
	}
	return x, nil
}

func parseIndex(text []byte) (*Index, error) {
	if len(text) > MaxProvenance {
		return nil, fmt.Errorf("more than %d bytes", MaxProvenance)
	}
	var raw struct {
		Chart      string `yaml:"chart"`
		Provenance string `yaml:"provenance"`
		Signature  string `yaml:"signature"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&raw); err == io.EOF {
		return nil, errors.New("empty")
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(new(any)); err != io.EOF {
		return nil, errors.New("more than one document; give each chart a file of its own")
	}
	x := &Index{Chart: raw.Chart, PredicateType: predicateTypes[raw.Provenance]}
	digest, ok := strings.CutPrefix(raw.Signature, "cosign:")
	x.Bundle = "sha256:" + strings.TrimPrefix(digest, "sha256:")
	switch _, err := sigstore.ArtifactDigest(x.Bundle); {
	case raw.Chart == "":
		return nil, errors.New("chart: missing; it is the chart's name and version, such as gateway-1.7.0")
	case raw.Provenance == "":
		return nil, errors.New("provenance: missing; it is slsa-v1 or slsa-v0.2")
	case x.PredicateType == "":
		return nil, fmt.Errorf("provenance: %q is not known; it is one of %s", raw.Provenance, strings.Join(slices.Sorted(maps.Keys(predicateTypes)), ", "))
	case raw.Signature == "":
		return nil, errors.New("signature: missing; it is cosign: and the digest of the bundle")
	case !ok || err != nil:
		return nil, fmt.Errorf("signature: %q is not cosign:sha256: and the 64 hexadecimal digits of the bundle's digest", raw.Signature)
	}
	x.Bundle = strings.ToLower(x.Bundle)
	return x, nil
}

// ErrNotFound is what a Resolver's error wraps if there is nothing of the
// digest.
var ErrNotFound = errors.New("not found")

// A Resolver returns the bytes of a digest (sha256:…), which may be a bundle or
// the manifest of a chart in a registry. It makes sure that they are of the
// digest.
type Resolver func(ctx context.Context, digest string) ([]byte, error)

// A Check verifies a bundle about an artifact, and returns who signed it.
type Check func(*sigstore.Bundle, *sigstore.Artifact) (*sigstore.Verified, error)

// An IndexResult describes how an index file was verified.
type IndexResult struct {
	Index    *Index
	Verified *sigstore.Verified
	Subject  string // digest of what the bundle is about: the archive, or
	// the manifest that holds the archive in a registry; "" if it is the
	// archive itself
	Manifest string
}

// Verify resolves the index file's signature to a bundle, verifies that, and
// makes sure that it is about the archive: by the archive's own digest, or by
// that of the manifest that holds the archive in a registry, as cosign attests
// it; the resolver must then have the manifest, too. An error that wraps
// ErrNotVerified or ErrMalformed is a verdict.
func (x *Index) Verify(ctx context.Context, a *Archive, resolve Resolver, check Check) (*IndexResult, error) {
	if x.Chart != a.String() {
		return nil, x.no("the archive is of the chart %s, but the index file is for %s", a, x.Chart)
	}
	data, err := resolve(ctx, x.Bundle)
	if errors.Is(err, ErrNotFound) {
		return nil, x.no("the signature's bundle %s is nowhere to be found", x.Bundle)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", x.Bundle, err)
	}
	b, err := sigstore.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("index file: the signature's bundle %s: %w: %w", x.Bundle, ErrNotVerified, err)
	}
	r := &IndexResult{Index: x}
	if r.Subject, r.Manifest, err = x.subject(ctx, b, a, resolve); err != nil {
		return nil, err
	}
	artifact, err := sigstore.ArtifactDigest(r.Subject)
	if err != nil {
		return nil, err
	}
	if r.Verified, err = check(b, artifact); err != nil {
		if errors.Is(err, sigstore.ErrNotVerified) {
			return nil, fmt.Errorf("index file: the signature's bundle %s: %w: %w", x.Bundle, ErrNotVerified, err)
		}
		return nil, err
	}
	if got := r.Verified.PredicateType; got != x.PredicateType {
		return nil, x.no("the bundle has the predicate type %q, but the index file promises %q", got, x.PredicateType)
	}
	return r, nil
}

func (x *Index) no(format string, args ...any) error {
	return fmt.Errorf("index file: %w: %s", ErrNotVerified, fmt.Sprintf(format, args...))
}

// subject finds what of the bundle's subjects is the archive, or the manifest
// that holds it.
func (x *Index) subject(ctx context.Context, b *sigstore.Bundle, a *Archive, resolve Resolver) (subject, manifest string, err error) {
	var digests []string
	for _, s := range b.Subjects {
		if d := "sha256:" + s.Digest["sha256"]; d == a.Digest {
			return a.Digest, "", nil
		} else if s.Digest["sha256"] != "" && len(digests) < 16 {
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
	return "", "", x.no("the bundle is about %s; that is neither the archive %s nor a manifest at hand that holds it", strings.Join(digests, ", "), a.Digest)
}

// Folder resolves to the files of a folder, by their content, and of their
// lines if they are JSON Lines. Names don't matter. Large files and folders
// below are not looked at.
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
			if digestOf(data) == digest {
				return data, nil
			}
			several, err := documents.Split(data)
			if err != nil {
				continue
			}
			for _, one := range several {
				if digestOf(one) == digest {
					return one, nil
				}
			}
		}
		return nil, fmt.Errorf("no file in %s has the digest %s: %w", dir, digest, ErrNotFound)
	}
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Repository resolves to the blobs and manifests of a registry's repository.
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
