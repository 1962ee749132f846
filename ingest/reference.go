package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
)

// ReferenceMediaType is the media type of a reference to evidence stored
// elsewhere. See docs/spec/kinds.md.
const ReferenceMediaType = "application/vnd.muniment.external.v1+json"

// maxReference is the size limit of a reference in bytes.
const maxReference = 64 << 10

// A Reference commits to evidence without containing it.
type Reference struct {
	Digest    map[string]string `json:"digest"` // by algorithm, in hexadecimal digits
	Size      uint64            `json:"size"`   // bytes
	Location  string            `json:"location"`
	MediaType string            `json:"mediaType,omitempty"` // of the evidence
}

// Document returns the payload of the reference.
func (r *Reference) Document() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(r) // strings and a number always encode
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// readReference reads a reference strictly. Its subject is the evidence.
func readReference(payload []byte) (contents, error) {
	if len(payload) > maxReference {
		return contents{}, fmt.Errorf("%d bytes, above the limit of %d for a reference", len(payload), maxReference)
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
		return contents{}, err
	}
	sum, ok := x.Digest["sha256"]
	switch {
	case !ok || len(x.Digest) != 1 || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "":
		return contents{}, payloadErrorf("digest", "must have one member, sha256, of 64 lowercase hexadecimal digits")
	case len(x.Location) > 2048:
		return contents{}, payloadErrorf("location", "%d bytes, above the limit of 2048", len(x.Location))
	}
	u, err := url.Parse(x.Location)
	switch {
	case err != nil || u.Scheme == "":
		// The location can contain a secret, so it is not quoted.
		return contents{}, payloadErrorf("location", "must be a URI, such as s3://bucket/key or https://host/path")
	case u.User != nil:
		return contents{}, payloadErrorf("location", "must not have a user name or password, which would be recorded: remove them")
	}
	if _, err := canonicalType(x.MediaType); err != nil {
		return contents{}, payloadErrorf("mediaType", "%q is not a media type", x.MediaType)
	}
	return contents{mediaType: ReferenceMediaType, subjects: []entry.Subject{{Digest: x.Digest}}, external: x}, nil
}
