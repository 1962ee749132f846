package oci

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"muniment.dev/muniment/verifiers/boundedjson"
)

// A document contains the members of a manifest or index that this package uses
// (https://github.com/opencontainers/image-spec/blob/main/manifest.md). The
// types of the library do not bound the length of arrays.
type document struct {
	ArtifactType string      `json:"artifactType"`
	Config       descriptor  `json:"config"`
	Layers       descriptors `json:"layers"`
	Manifests    descriptors `json:"manifests"`
	Subject      descriptor  `json:"subject"`
}

type descriptor struct {
	MediaType   types.MediaType   `json:"mediaType"`
	Digest      digest            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
	Platform    *v1.Platform      `json:"platform"`
}

// UnmarshalJSONFrom reads a descriptor. A malformed descriptor becomes the zero
// value or keeps only its digest, because it must not hide the others in its
// list.
func (d *descriptor) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	text, err := dec.ReadValue()
	if err != nil {
		return err
	}
	type plain descriptor // without this method
	var whole plain
	if json.Unmarshal(text, &whole, anyText) == nil {
		*d = descriptor(whole)
		return nil
	}
	var part struct {
		Digest digest `json:"digest"`
	}
	if json.Unmarshal(text, &part, anyText) == nil {
		d.Digest = part.Digest
	}
	return nil
}

// anyText accepts the JSON that registries return: with duplicate members and
// strings that are not UTF-8. A manifest is not evidence. Only signatures
// count.
var anyText = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// A digest is an algorithm and hexadecimal digits. It is safe to use in a URL.
// A malformed digest is read as the empty one.
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

// descriptors reads its elements one by one, and at most one more than
// MaxAttestations.
type descriptors []descriptor

func (list *descriptors) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return boundedjson.ReadArray(dec, MaxAttestations, (*[]descriptor)(list))
}

// parse reads a manifest or index. Each descriptor must have a digest.
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

// parseLoosely reads a manifest or index and accepts descriptors without a
// digest.
func parseLoosely(raw []byte) (*document, error) {
	var d document
	if err := json.Unmarshal(raw, &d, anyText); err != nil {
		return nil, errors.New("not the JSON of a manifest or index")
	}
	for name, list := range map[string]descriptors{"manifests": d.Manifests, "layers": d.Layers} {
		if len(list) > MaxAttestations {
			return nil, fmt.Errorf("%w: more than %d %s", ErrTooMuch, MaxAttestations, name)
		}
	}
	return &d, nil
}
