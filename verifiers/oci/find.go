package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/verifiers/intoto"
)

// BuildKit's annotations in an index.
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationManifest       = "attestation-manifest"
)

// Artifacts returns the artifact that the reference names. If that is an index,
// the manifests of its platforms follow.
func (r *Registry) Artifacts(ctx context.Context) ([]*Artifact, error) {
	w := &walk{r: r}
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	return w.artifacts, nil
}

// Each calls f for each attachment of the artifacts, one at a time. For an
// attachment that cannot be read, it passes no data and an error. The error
// wraps ErrUnusable if the registry did not provide the attachment. Each
// returns an error if the attachments cannot be listed.
func (r *Registry) Each(ctx context.Context, f func(*Attachment, error) error) ([]*Artifact, error) {
	w := &walk{r: r, f: f, seen: map[string]bool{}}
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	for _, a := range w.artifacts {
		if err := w.attachedTo(ctx, a); err != nil {
			return nil, err
		}
	}
	return w.artifacts, nil
}

// Harvest is Each for evidence that is recorded rather than judged. Where the
// registry does not provide a platform's manifest or a list of referrers,
// Harvest passes an error that wraps ErrUnusable and continues with the others.
// It also visits the provenance that a chart's manifest contains.
func (r *Registry) Harvest(ctx context.Context, f func(*Attachment, error) error) ([]*Artifact, error) {
	w := &walk{r: r, f: f, harvest: true, seen: map[string]bool{}}
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	for _, a := range w.artifacts {
		if err := w.attachedTo(ctx, a); err != nil {
			return nil, err
		}
		if a.Chart == nil || a.Chart.Provenance == "" {
			continue
		}
		if err := w.layer(ctx, Attachment{Artifact: a, Source: SourceChart, Manifest: a.Digest, Digest: a.Chart.Provenance, MediaType: mediaTypeProvenance}); err != nil {
			return nil, err
		}
	}
	return w.artifacts, nil
}

// A walk visits everything reachable from a reference.
type walk struct {
	r         *Registry
	f         func(*Attachment, error) error
	harvest   bool // pass on what the registry does not provide
	artifacts []*Artifact
	buildkit  []descriptor
	bytes     int64 // of blobs
	// digests of artifact and manifest, because a referrer can be found in
	// several ways
	seen  map[string]bool
	count int
}

func (w *walk) start(ctx context.Context) error {
	m, err := w.r.manifest(ctx, w.r.ref)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("read %s: %w", w.r.ref, ErrNotFound)
	}
	return w.artifact(ctx, m, "", 0)
}

// artifact records a manifest and, if it is an index, the manifests below it.
func (w *walk) artifact(ctx context.Context, m *manifest, platform string, depth int) error {
	if slices.ContainsFunc(w.artifacts, func(a *Artifact) bool { return a.Digest == m.Digest }) {
		return nil
	}
	if len(w.artifacts) == MaxArtifacts {
		return fmt.Errorf("%s: %w: %d platforms", w.r.ref, ErrTooMuch, MaxArtifacts)
	}
	a := &Artifact{Digest: m.Digest, MediaType: string(m.MediaType), Platform: platform}
	w.artifacts = append(w.artifacts, a)
	if !m.MediaType.IsIndex() {
		a.Chart = chartOf(m.Raw)
		return nil
	}
	index, err := parse(m.Raw)
	if err != nil {
		return fmt.Errorf("index %s: %w", m.Digest, err)
	}
	if depth > 2 {
		return fmt.Errorf("index %s: %w: indexes are nested too deeply", m.Digest, ErrTooMuch)
	}
	for _, d := range index.Manifests {
		if d.Annotations[annotationReferenceType] == attestationManifest {
			w.buildkit = append(w.buildkit, d)
			continue
		}
		if d.Platform != nil && d.Platform.OS == "unknown" && d.Platform.Architecture == "unknown" {
			// Possibly BuildKit attestations whose annotations were lost when
			// copying. Only the content distinguishes them from an image, and
			// an image must be attested like the others.
			loose, err := w.looseAttestations(ctx, d, a.Digest)
			if err != nil {
				err = w.missing(ctx, &Artifact{Digest: string(d.Digest)}, SourceBuildKit, err)
			}
			if err != nil {
				return err
			}
			if loose {
				continue
			}
		}
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
			continue
		}
		below, err := w.r.manifest(ctx, w.r.ref.Context().Digest(string(d.Digest)))
		if err == nil && below == nil {
			err = fmt.Errorf("index %s: the registry does not have its manifest %s", m.Digest, d.Digest)
		}
		if err == nil {
			err = w.artifact(ctx, below, platformOf(d.Platform), depth+1)
		} else {
			err = w.missing(ctx, &Artifact{Digest: string(d.Digest), MediaType: string(d.MediaType), Platform: platformOf(d.Platform)}, SourceIndex, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// missing handles an artifact whose manifest or list of referrers the registry
// does not provide. Without harvest, its error ends the walk.
func (w *walk) missing(ctx context.Context, a *Artifact, source Source, err error) error {
	if !w.harvest || ended(ctx, err) {
		return err
	}
	return w.call(&Attachment{Artifact: a, Source: source, Manifest: a.Digest, Digest: a.Digest}, unusable(err))
}

// looseAttestations reports whether a manifest of an index contains only
// statements. If so, it records the manifest as attached to the index.
func (w *walk) looseAttestations(ctx context.Context, d descriptor, index string) (bool, error) {
	m, err := w.r.manifest(ctx, w.r.ref.Context().Digest(string(d.Digest)))
	if err != nil || m == nil || m.MediaType.IsIndex() {
		return false, err
	}
	image, err := parse(m.Raw)
	if err != nil || len(image.Layers) == 0 || slices.ContainsFunc(image.Layers, func(l descriptor) bool { return string(l.MediaType) != intoto.MediaType }) {
		return false, nil
	}
	d.Annotations = map[string]string{annotationReferenceDigest: index}
	w.buildkit = append(w.buildkit, d)
	return true, nil
}

func platformOf(p *v1.Platform) string {
	if p == nil {
		return ""
	}
	return p.String()
}

// chartOf reads the manifest of a Helm chart. It returns nil for other
// manifests.
func chartOf(raw []byte) *Chart {
	m, err := parse(raw)
	if err != nil || m.Config.MediaType != mediaTypeChartConfig {
		return nil
	}
	var c Chart
	for _, l := range m.Layers {
		switch l.MediaType {
		case mediaTypeChart:
			c.Archive = string(l.Digest)
		case mediaTypeProvenance:
			c.Provenance = string(l.Digest)
		}
	}
	if c.Archive == "" {
		return nil
	}
	return &c
}

// ParseChart reads the manifest of a Helm chart. It returns nil for other
// manifests.
func ParseChart(manifest []byte) *Chart { return chartOf(manifest) }

func (w *walk) attachedTo(ctx context.Context, a *Artifact) error {
	referrers, source, err := w.r.referrers(ctx, a.Digest)
	if err != nil {
		err = w.missing(ctx, a, source, err)
	}
	if err != nil {
		return err
	}
	for _, d := range referrers {
		if d.Digest == "" {
			if err := w.call(&Attachment{Artifact: a, Source: source, MediaType: string(d.MediaType)}, unusable(errors.New("the registry lists it with a missing or malformed digest"))); err != nil {
				return err
			}
			continue
		}
		if err := w.manifest(ctx, a, w.r.ref.Context().Digest(string(d.Digest)), source); err != nil {
			return err
		}
	}
	tag := strings.Replace(a.Digest, ":", "-", 1)
	for _, suffix := range []string{".att", ".sig"} {
		if err := w.manifest(ctx, a, w.r.ref.Context().Tag(tag+suffix), SourceCosignTag); err != nil {
			return err
		}
	}
	for _, d := range w.buildkit {
		if d.Annotations[annotationReferenceDigest] == a.Digest {
			if err := w.manifest(ctx, a, w.r.ref.Context().Digest(string(d.Digest)), SourceBuildKit); err != nil {
				return err
			}
		}
	}
	return nil
}

// manifest reads a manifest that contains attestations.
func (w *walk) manifest(ctx context.Context, a *Artifact, ref name.Reference, source Source) error {
	m, err := w.r.manifest(ctx, ref)
	if err != nil {
		if ended(ctx, err) {
			return err
		}
		return w.call(&Attachment{Artifact: a, Source: source, Manifest: ref.Identifier(), Digest: ref.Identifier()}, unusable(err))
	}
	if m == nil {
		if source == SourceCosignTag {
			return nil
		}
		return w.call(&Attachment{Artifact: a, Source: source, Manifest: ref.Identifier(), Digest: ref.Identifier()}, errors.New("the registry lists it but does not have it"))
	}
	if key := a.Digest + m.Digest; w.seen[key] {
		return nil
	} else {
		w.seen[key] = true
	}
	found := Attachment{Artifact: a, Source: source, Manifest: m.Digest, Digest: m.Digest}
	image, err := parse(m.Raw)
	if err != nil || m.MediaType != types.OCIManifestSchema1 && m.MediaType != types.DockerManifestSchema2 {
		return w.call(&found, errors.New("not the manifest of an artifact"))
	}
	layers := slices.DeleteFunc(image.Layers, func(l descriptor) bool { return !readable(string(l.MediaType)) })
	if len(layers) == 0 {
		if found.MediaType = image.ArtifactType; found.MediaType == "" {
			found.MediaType = string(image.Config.MediaType)
		}
		return w.call(&found, nil)
	}
	for _, l := range layers {
		one := found
		one.MediaType, one.Digest, one.annotations = string(l.MediaType), string(l.Digest), l.Annotations
		if l.Size > MaxBlob {
			err = w.call(&one, fmt.Errorf("%w: a blob of %d bytes", ErrTooMuch, l.Size))
		} else {
			err = w.layer(ctx, one)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// layer reads the document of an attachment.
func (w *walk) layer(ctx context.Context, one Attachment) (err error) {
	one.Data, err = w.r.Blob(ctx, one.Digest)
	switch {
	case errors.Is(err, ErrNotFound):
		return w.call(&one, fmt.Errorf("the registry does not have the blob %s", one.Digest))
	case err != nil && ended(ctx, err):
		return err
	case err != nil:
		return w.call(&one, unusable(err))
	}
	if w.bytes += int64(len(one.Data)); w.bytes > MaxTotal {
		return fmt.Errorf("%s: %w: %d bytes of attestations", w.r.ref, ErrTooMuch, int64(MaxTotal))
	}
	return w.call(&one, nil)
}

func (w *walk) call(a *Attachment, problem error) error {
	if w.count++; w.count > MaxAttestations {
		return fmt.Errorf("%s: %w: %d attestations", w.r.ref, ErrTooMuch, MaxAttestations)
	}
	return w.f(a, problem)
}
