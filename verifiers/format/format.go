// Package format is the registry of evidence formats: the name, media type,
// size limit, recognition and parser of each.
//
// To add a format, write a package beside this one and add a row to the table.
// The format's package reads documents and verifies their signatures as package
// evidence defines.
package format

import (
	"errors"
	"fmt"
	"strings"

	"muniment.dev/muniment/verifiers/cose"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/external"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A Format is a row of the registry.
type Format struct {
	Name string // for messages
	// MediaType is the media type in headers, or its prefix if each version of
	// the format has its own.
	MediaType string
	MaxSize   int // of a document, in bytes

	versions bool // MediaType is a prefix
	// shape identifies JSON documents of the format by their members, whatever
	// media type is claimed for them.
	shape shape.Set
	// recognize identifies documents that are not JSON. It is nil for formats
	// that only a media type identifies.
	recognize func(payload []byte, claimed string) bool
	read      func(payload []byte) (*evidence.Document, error)
}

// The formats.
var (
	Bundle    = &Format{Name: "Sigstore bundle", MediaType: sigstore.MediaTypePrefix, MaxSize: sigstore.MaxBundleSize, versions: true, shape: shape.Bundle, read: readBundle}
	Envelope  = &Format{Name: "DSSE envelope", MediaType: dsse.MediaType, MaxSize: dsse.MaxSize, shape: shape.Envelope, read: readEnvelope}
	Statement = &Format{Name: "in-toto statement", MediaType: intoto.MediaType, MaxSize: intoto.MaxSize, shape: shape.Statement, read: readStatement}
	COSE      = &Format{Name: "SCITT signed statement", MediaType: cose.MediaType, MaxSize: cose.MaxSize, recognize: cose.Recognize, read: cose.Read}
	Chart     = &Format{Name: "chart provenance", MediaType: helm.MediaType, MaxSize: helm.MaxProvenance, recognize: isProvenance, read: readProvenance}
	External  = &Format{Name: "reference", MediaType: external.MediaType, MaxSize: external.MaxSize, read: external.Read}
)

// all lists the formats in the order in which they are tried.
var all = []*Format{Bundle, Envelope, Statement, Chart, COSE, External}

// All returns the formats.
func All() []*Format { return append([]*Format(nil), all...) }

// Of returns the format of a canonical media type, or nil if documents of that
// type are not parsed.
func Of(mediaType string) *Format {
	for _, f := range all {
		if mediaType == f.MediaType || f.versions && strings.HasPrefix(mediaType, f.MediaType) {
			return f
		}
	}
	return nil
}

// Canonical returns the canonical spelling of a media type, so that types that
// differ only in case or white space become equal. It drops parameters, except
// for formats with versions, because they have no meaning elsewhere.
func Canonical(mediaType string) (string, error) {
	if isCanonical(mediaType) {
		return mediaType, nil
	}
	return evidence.CanonicalType(mediaType, func(base string) bool {
		f := Of(base)
		return f != nil && !f.versions
	})
}

// isCanonical reports whether a media type has no parameters and is already in
// canonical spelling. Nearly all are, and parsing them would take 3 % of an
// append's time.
func isCanonical(mediaType string) bool {
	kind, subtype, ok := strings.Cut(mediaType, "/")
	return ok && isLowerToken(kind) && isLowerToken(subtype)
}

// isLowerToken reports whether s is a token of lower-case letters, digits, and
// the other characters of RFC 6838, section 4.2.
func isLowerToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$&-^_.+", rune(c)) {
			return false
		}
	}
	return s != ""
}

// Recognize detects the format of a document by its content, whatever media
// type is claimed for it. It returns nil for documents of no registered format,
// and an error if rules could not examine the document.
func Recognize(payload []byte, claimed string) (*Format, error) {
	f, err := OfShape(shape.Of(payload))
	if f != nil || err != nil {
		return f, err
	}
	for _, f := range all {
		if f.recognize != nil && f.recognize(payload, claimed) {
			return f, nil
		}
	}
	return nil, nil
}

// OfShape returns the format of a document with the shape, or nil.
func OfShape(s shape.Set) (*Format, error) {
	for _, f := range all {
		if s != shape.None && f.shape == s {
			return f, nil
		}
	}
	switch {
	case s == shape.None:
		return nil, nil
	case s&shape.UTF16 != 0:
		return nil, errors.New("JSON must be in UTF-8, not UTF-16 or UTF-32: convert it")
	}
	return nil, errors.New("ambiguous format: it has members of more than one of statement, envelope and bundle")
}

// Read parses a document of the format. It does not verify signatures.
func (f *Format) Read(payload []byte) (*evidence.Document, error) {
	if len(payload) > f.MaxSize {
		return nil, fmt.Errorf("%s: %d bytes, above the limit of %d", f.Name, len(payload), f.MaxSize)
	}
	d, err := f.read(payload)
	if err != nil {
		return nil, err
	}
	if d.MediaType == "" {
		d.MediaType = f.MediaType
	}
	return d, nil
}
