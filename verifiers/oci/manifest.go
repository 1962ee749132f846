package oci

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/verifiers/boundedjson"
)

// A document is a manifest or an index, as far as it is read
// (https://github.com/opencontainers/image-spec/blob/main/manifest.md). The
// library's own types would hold all that a registry cares to put into an
// array.
type document struct {
	ArtifactType string      `json:"artifactType"`
	Config       descriptor  `json:"config"`
	Layers       descriptors `json:"layers"`
	Manifests    descriptors `json:"manifests"`
}

type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      digest            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *v1.Platform      `json:"platform"`
}

// A digest is an algorithm and hexadecimal digits, so that it can be put into a
// URL. A malformed one reads as the empty digest: one bad descriptor in a list
// must not hide the others.
type digest string

func (d *digest) UnmarshalText(text []byte) error {
	h, err := v1.NewHash(string(text))
	if err != nil {
		*d = ""
		return nil
	}
	*d = digest(h.String())
	return nil
}

// descriptors are read one by one, up to one more than MaxAttestations, which
// is enough to see that there are too many.
type descriptors []descriptor

func (list *descriptors) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return boundedjson.ReadArray(dec, MaxAttestations, (*[]descriptor)(list))
}

// parse reads a manifest or index, all of whose descriptors have a digest.
func parse(raw []byte) (*document, error) {
	d, err := parseLoosely(raw)
	if err != nil {
		return nil, err
	}
	for name, list := range map[string]descriptors{"manifests": d.Manifests, "layers": d.Layers} {
		if i := slices.IndexFunc(list, func(d descriptor) bool { return d.Digest == "" }); i >= 0 {
			return nil, fmt.Errorf("%s[%d].digest: missing or malformed", name, i)
		}
	}
	return d, nil
}

// parseLoosely reads a manifest or index of which some descriptors may have no
// digest.
func parseLoosely(raw []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	for name, list := range map[string]descriptors{"manifests": d.Manifests, "layers": d.Layers} {
		if len(list) > MaxAttestations {
			return nil, fmt.Errorf("%w: more than %d %s", ErrTooMuch, MaxAttestations, name)
		}
	}
	return &d, nil
}
