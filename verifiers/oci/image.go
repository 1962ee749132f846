package oci

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/verifiers/boundedjson"
)

// MaxLayers is the largest number of layers of an image.
const MaxLayers = 1024

// An Image is what a registry has about the image for one platform
// (https://github.com/opencontainers/image-spec/blob/main/config.md).
type Image struct {
	*Artifact
	Index   string // digest of the index that contains it; "": none
	OS      string
	CPU     string // architecture, such as arm64
	Variant string // of the architecture
	// DiffIDs are the digests of the uncompressed layers, the lowest first.
	DiffIDs     []string
	Labels      map[string]string // of the configuration
	Annotations map[string]string // of the manifest, and others of its index
}

// ErrNotImage is wrapped by errors about manifests of other artifacts.
var ErrNotImage = errors.New("not an image")

// Images returns the images that the reference names: one for each platform of
// an index. If want is not nil, it selects them by what the index declares.
func (r *Registry) Images(ctx context.Context, want func(*Artifact) bool) ([]*Image, error) {
	artifacts, err := r.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Image
	index, annotations := "", map[string]string(nil)
	for i, a := range artifacts {
		if isIndex(&ArtifactReport{Artifact: a}) {
			if i == 0 {
				index = a.Digest
				if annotations, err = r.annotations(ctx, a.Digest); err != nil {
					return nil, err
				}
			}
			continue
		}
		if i > 0 && want != nil && !want(a) {
			continue
		}
		image, err := r.image(ctx, a)
		if err != nil {
			return nil, err
		}
		image.Index = index
		for name, value := range annotations {
			if _, own := image.Annotations[name]; !own {
				image.Annotations[name] = value
			}
		}
		all = append(all, image)
	}
	return all, nil
}

func (r *Registry) annotations(ctx context.Context, digest string) (map[string]string, error) {
	raw, err := r.Manifest(ctx, digest)
	if err != nil {
		return nil, err
	}
	return annotationsOf(raw), nil
}

// annotationsOf returns the annotations of a manifest or index. Malformed ones
// are ignored.
func annotationsOf(raw []byte) map[string]string {
	var d struct {
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(raw, &d, anyText) != nil || d.Annotations == nil {
		return map[string]string{}
	}
	return d.Annotations
}

// configuration contains the members of an image's configuration that this
// package uses.
type configuration struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant"`
	Config       struct {
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		DiffIDs diffIDs `json:"diff_ids"`
	} `json:"rootfs"`
}

// diffIDs reads at most one element more than MaxLayers.
type diffIDs []digest

func (list *diffIDs) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return boundedjson.ReadArray(dec, MaxLayers, (*[]digest)(list))
}

// image reads the configuration of an image.
func (r *Registry) image(ctx context.Context, a *Artifact) (*Image, error) {
	raw, err := r.Manifest(ctx, a.Digest)
	if err != nil {
		return nil, err
	}
	m, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", a.Digest, err)
	}
	if m.Config.Digest == "" || a.Chart != nil {
		return nil, fmt.Errorf("manifest %s: %w: it has no configuration of an image", a.Digest, ErrNotImage)
	}
	if m.Config.Size > MaxManifest {
		return nil, fmt.Errorf("configuration of %s: %w: %d bytes", a.Digest, ErrTooMuch, m.Config.Size)
	}
	text, err := r.Blob(ctx, string(m.Config.Digest))
	if err != nil {
		return nil, err
	}
	if len(text) > MaxManifest {
		return nil, fmt.Errorf("configuration of %s: %w: %d bytes", a.Digest, ErrTooMuch, len(text))
	}
	var c configuration
	if err := json.Unmarshal(text, &c, anyText); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", a.Digest, ErrNotImage)
	}
	image := &Image{Artifact: a, OS: c.OS, CPU: c.Architecture, Variant: c.Variant, Labels: c.Config.Labels, Annotations: annotationsOf(raw)}
	if len(c.RootFS.DiffIDs) > MaxLayers {
		return nil, fmt.Errorf("configuration of %s: %w: more than %d layers", a.Digest, ErrTooMuch, MaxLayers)
	}
	for _, d := range c.RootFS.DiffIDs {
		if d == "" {
			return nil, fmt.Errorf("configuration of %s: %w: a diff ID is malformed", a.Digest, ErrNotImage)
		}
		image.DiffIDs = append(image.DiffIDs, string(d))
	}
	return image, nil
}

// Runs reports whether the image is for the platform of another one. Where one
// of them does not specify a part of its platform, it is not compared.
func (i *Image) Runs(on *Image) bool {
	for _, part := range [][2]string{{i.OS, on.OS}, {i.CPU, on.CPU}, {i.Variant, on.Variant}} {
		if part[0] != "" && part[1] != "" && part[0] != part[1] {
			return false
		}
	}
	return true
}
