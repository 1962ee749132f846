// Package external reads references to evidence stored elsewhere. See
// docs/spec/kinds.md.
//
// It does not fetch the evidence. A reference commits to it by digest.
package external

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/verifiers/evidence"
)

// MediaType is the media type of a reference.
const MediaType = "application/vnd.muniment.external.v1+json"

// MaxSize is the size limit of a reference in bytes.
const MaxSize = 64 << 10

const maxLocation = 2048 // bytes

// A Reference commits to evidence that is stored elsewhere.
type Reference struct {
	Digest    map[string]string `json:"digest"` // hexadecimal, by algorithm
	Size      uint64            `json:"size"`   // bytes
	Location  string            `json:"location"`
	MediaType string            `json:"mediaType,omitempty"` // of the evidence
}

// Document returns the payload of the reference.
func (r *Reference) Document() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(r) // a struct of strings and a number always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Parse reads a reference and checks it strictly.
func Parse(payload []byte) (*entry.External, error) {
	if len(payload) > MaxSize {
		return nil, fmt.Errorf("%d bytes, above the limit of %d for a reference", len(payload), MaxSize)
	}
	x := &entry.External{}
	err := strictjson.Parse(payload, func(o *strictjson.Object) error {
		o.RequiredObject("digest", func(o *strictjson.Object) error {
			x.Digest = o.Strings()
			return nil
		})
		x.Size, x.Location, x.MediaType = o.Integer("size"), o.String("location"), o.OptionalString("mediaType")
		return nil
	})
	if err != nil {
		return nil, err
	}
	sum, ok := x.Digest["sha256"]
	switch {
	case !ok || len(x.Digest) != 1 || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "":
		return nil, errors.New("digest: must have one member, sha256, of 64 lowercase hexadecimal digits")
	case len(x.Location) > maxLocation:
		return nil, fmt.Errorf("location: %d bytes, above the limit of %d", len(x.Location), maxLocation)
	}
	u, err := url.Parse(x.Location)
	switch {
	case err != nil || u.Scheme == "":
		// Do not quote the location: it can contain a secret.
		return nil, errors.New("location: must be a URI, such as s3://bucket/key or https://host/path")
	case u.User != nil:
		return nil, errors.New("location: must not have a user name or password, which would be recorded: remove them")
	}
	if x.MediaType != "" {
		if _, err := evidence.CanonicalType(x.MediaType, func(string) bool { return false }); err != nil {
			return nil, fmt.Errorf("mediaType: %w", err)
		}
	}
	return x, nil
}

// Read reads a reference as evidence about what it refers to.
func Read(payload []byte) (*evidence.Document, error) {
	x, err := Parse(payload)
	if err != nil {
		return nil, err
	}
	return &evidence.Document{Subjects: []entry.Subject{{Digest: x.Digest}}, External: x}, nil
}
