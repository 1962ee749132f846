package ingest

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/sniff"
)

// readAttestation reads a document. It detects the formats that it parses by
// their content. Other documents require an explicit media type.
func readAttestation(mediaType string, payload []byte, _ time.Time) (contents, error) {
	is, err := canonicalType(mediaType)
	if err != nil {
		return contents{}, err
	}
	shown, err := recognise(is, payload)
	if err != nil {
		return contents{}, err
	}
	switch {
	case is == "" && shown == "":
		if err := sniff.Explain(payload); err != nil {
			return contents{}, fieldErrorf(FieldPayload, "%s", err)
		}
		return contents{}, fieldErrorf(FieldMediaType, "no media type specified, and the payload is not a Sigstore bundle, DSSE envelope or in-toto statement: specify one, such as application/spdx+json")
	case shown != "" && format.Of(is) == nil:
		is, mediaType = shown, "" // the content decides, not the claimed type
	}
	c := contents{mediaType: is}
	if f := format.Of(is); f != nil {
		c, err = readFormat(f, mediaType, is, payload)
	} else if err = checkDocument(is, payload); err == nil && isJSON(is) {
		c.document = payload
	}
	if err == nil && c.statement != nil {
		c.state()
	}
	var field *FieldError
	if errors.As(err, &field) {
		return contents{}, err
	}
	if err != nil {
		return contents{}, fieldErrorf(FieldPayload, "%s", plain.DecodeError(err))
	}
	return c, nil
}

// readFormat reads a document of a registered format. If a media type includes
// a version, the document must declare the same version.
func readFormat(f *format.Format, mediaType, is string, payload []byte) (contents, error) {
	d, err := f.Read(payload)
	if err != nil {
		return contents{}, err
	}
	if declared, _ := canonicalType(d.MediaType); mediaType != "" && is != declared {
		return contents{}, fieldErrorf(FieldMediaType, "%q does not match the document, whose media type is %q", mediaType, d.MediaType)
	}
	return contents{
		mediaType: d.MediaType, subjects: d.Subjects, signers: d.Signers, attributes: d.Attributes,
		external: d.External, statement: d.Statement, opaque: d.Unread, signed: d.Signed,
	}, nil
}

// canonicalType returns the canonical spelling of a media type. The error is a
// *FieldError.
func canonicalType(mediaType string) (string, error) {
	if mediaType == "" {
		return "", nil
	}
	is, err := format.Canonical(mediaType)
	if err != nil {
		return "", fieldErrorf(FieldMediaType, "%s", err)
	}
	return is, nil
}

// state adds the contents of the document's in-toto statement.
func (c *contents) state() {
	s := c.statement
	s.Check()
	c.subjects, c.predicateType, c.materials = s.Subjects, s.PredicateType, s.Materials
}

// maxHeaderDeviations is the number of deviations that a header lists.
const maxHeaderDeviations = 8

// deviations returns the payload's deviations from the definition of its type,
// one line each.
func (c *contents) deviations() []string {
	switch {
	case c.opaque != nil:
		return []string{c.opaque.Error()}
	case c.statement != nil:
		return c.statement.Deviations.Strings()
	}
	return nil
}

// noteDeviations adds the deviations, if any, to a header's attributes.
func (c *contents) noteDeviations(h *entry.Header) {
	all := c.deviations()
	if len(all) == 0 {
		return
	}
	a := maps.Clone(h.Attributes)
	if a == nil {
		a = map[string]string{}
	}
	a["conformance"] = "deviating"
	for i, d := range all[:min(len(all), maxHeaderDeviations)] {
		a["deviation."+strconv.Itoa(i+1)] = d
	}
	h.Attributes = a
}

// recognise detects the format of a document by its content, whatever media
// type is claimed for it. It returns the format's media type, or "" for other
// documents. The error is a *FieldError.
func recognise(claimed string, payload []byte) (string, error) {
	return mediaTypeOf(format.Recognize(payload, claimed))
}

func mediaTypeOf(f *format.Format, err error) (string, error) {
	switch {
	case err != nil:
		return "", fieldErrorf(FieldPayload, "%s", err)
	case f == nil:
		return "", nil
	}
	return f.MediaType, nil
}

// isJSON reports whether a media type is that of JSON documents.
func isJSON(mediaType string) bool {
	base, _, _ := strings.Cut(mediaType, ";")
	return base == "application/json" || strings.HasSuffix(base, "+json")
}

// checkDocument checks that a document with a JSON media type is JSON, and that
// the media type is not that of a compressed document.
func checkDocument(mediaType string, payload []byte) error {
	if err := checkCompressed(mediaType); err != nil {
		return err
	}
	if !isJSON(mediaType) {
		return nil
	}
	if err := sniff.Encoding(payload); err != nil {
		return err
	}
	var check jsonCheck
	_, err := check.Write(payload)
	if err == nil {
		err = check.Close()
	}
	if err != nil {
		return fmt.Errorf("not JSON, as the media type %s requires: %w", mediaType, err)
	}
	return nil
}

// checkCompressed refuses media types of compressed documents. Policies and
// searches could not examine their content, and the store compresses payloads
// anyway. Ingest never decompresses its input.
func checkCompressed(mediaType string) error {
	base, _, _ := strings.Cut(mediaType, ";")
	for _, suffix := range []string{"+gzip", "+zstd", "+zip", "+bzip2", "+xz"} {
		if strings.HasSuffix(base, suffix) {
			return fieldErrorf(FieldMediaType, "%q is compressed: submit the uncompressed document, the log compresses it", base)
		}
	}
	return nil
}
