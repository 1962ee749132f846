package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"mime"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/cose"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sigstore"
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
	case shown != "" && !isRead(is):
		is, mediaType = shown, "" // a claimed type does not hide what the document is
	}
	var c contents
	switch {
	case strings.HasPrefix(is, sigstore.MediaTypePrefix):
		var b *sigstore.Bundle
		if b, err = sigstore.Parse(payload); err == nil {
			c, err = readBundle(mediaType, is, b)
		}
	case is == dsse.MediaType:
		c, err = readEnvelope(payload)
	case is == cose.MediaType:
		c, err = readStatement(payload)
	case is == intoto.MediaType:
		var st *intoto.Statement
		if st, err = intoto.Read(payload); err == nil && st.Incomplete {
			// It is not signed, so the submitter can correct it.
			err = fmt.Errorf("in-toto statement: %s", st.Deviations.List[0])
		}
		c = contents{mediaType: is, statement: st}
	case is == helm.MediaType:
		c, err = readProvenance(payload)
	case is == ReferenceMediaType:
		c, err = readReference(payload)
	default:
		c = contents{mediaType: is}
		if err = checkDocument(is, payload); err == nil && isJSON(is) {
			c.document = payload
		}
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

func readBundle(mediaType, is string, b *sigstore.Bundle) (contents, error) {
	declared, _ := canonicalType(b.MediaType)
	if mediaType != "" && is != declared {
		return contents{}, fieldErrorf(FieldMediaType, "%q does not match the bundle, whose media type is %q", mediaType, b.MediaType)
	}
	c := contents{mediaType: b.MediaType, subjects: b.Subjects, signers: b.Signers, signed: policy.Bundle(b), statement: b.Statement}
	if b.Unread != nil {
		c.opaque = fmt.Errorf("dsseEnvelope.payload: %w", b.Unread)
	}
	return c, nil
}

// canonicalType returns the canonical spelling of a media type, so that types
// which differ only in case or white space are equal. It drops the parameters
// of formats that are parsed here, because they have no meaning.
func canonicalType(mediaType string) (string, error) {
	if mediaType == "" {
		return "", nil
	}
	base, params, err := mime.ParseMediaType(mediaType)
	if err != nil || !strings.Contains(base, "/") {
		return "", fieldErrorf(FieldMediaType, "%q is not a media type", mediaType)
	}
	if isRead(base) && !strings.HasPrefix(base, sigstore.MediaTypePrefix) {
		return base, nil
	}
	if is := mime.FormatMediaType(base, params); is != "" {
		return is, nil
	}
	return "", fieldErrorf(FieldMediaType, "%q is not a media type", mediaType)
}

// isRead reports whether documents of the canonical media type are parsed here.
func isRead(is string) bool {
	switch is {
	case dsse.MediaType, intoto.MediaType, cose.MediaType, helm.MediaType, ReferenceMediaType:
		return true
	}
	return strings.HasPrefix(is, sigstore.MediaTypePrefix)
}

func readEnvelope(payload []byte) (contents, error) {
	e, err := dsse.Parse(payload)
	if err != nil {
		return contents{}, err
	}
	c := contents{mediaType: dsse.MediaType, signers: e.Signers, signed: policy.Envelope(e)}
	inner := shape.Of(e.Payload)
	switch {
	case inner&^shape.Statement != 0:
		return contents{}, errors.New("DSSE envelope: payload: must not be an envelope or bundle: submit the one that has the signatures")
	case e.PayloadType != intoto.MediaType && inner == shape.None:
		return c, nil // the payload is not a statement, whatever its type claims
	}
	c.statement, err = intoto.Read(e.Payload)
	switch {
	case errors.Is(err, intoto.ErrOtherType):
		// Such as a layout or a link. Its signatures are verified all the same.
		c.opaque = fmt.Errorf("payload: %w", err)
	case err != nil:
		return contents{}, fmt.Errorf("DSSE envelope: payload: %w", err)
	}
	return c, nil
}

// readProvenance reads a chart's provenance file.
func readProvenance(payload []byte) (contents, error) {
	p, err := helm.Parse(payload)
	if err != nil {
		return contents{}, err
	}
	return contents{mediaType: helm.MediaType, subjects: p.Subjects(), signed: policy.Provenance(payload), attributes: map[string]string{"chart": p.Chart, "version": p.Version}}, nil
}

// state adds the contents of the in-toto statement.
func (c *contents) state() {
	s := c.statement
	s.Check()
	c.subjects, c.predicateType, c.materials = s.Subjects, s.PredicateType, s.Materials
}

// maxHeaderDeviations is the number of deviations that a header contains.
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

// shapes maps the formats that are detected by their members to their media
// types.
var shapes = map[shape.Set]string{shape.Statement: intoto.MediaType, shape.Envelope: dsse.MediaType, shape.Bundle: sigstore.MediaTypePrefix}

// recognise detects the format of a document by its content, whatever media
// type is claimed for it. It returns the format's media type, or "" for other
// documents. The error is a *FieldError.
func recognise(claimed string, payload []byte) (string, error) {
	is, err := mediaTypeOf(shape.Of(payload))
	if is != "" || err != nil {
		return is, err
	}
	if bytes.Contains(payload, pgpMessage) { // parsers of such messages skip any text before them
		if _, err := helm.Parse(payload); err == nil || claimed == "" {
			return helm.MediaType, nil
		}
	}
	if len(payload) <= cose.MaxSize {
		if _, err := cose.Parse(payload); err == nil {
			return cose.MediaType, nil
		}
	}
	return "", nil
}

var pgpMessage = []byte("-----BEGIN PGP SIGNED MESSAGE-----")

// mediaTypeOf returns the media type of a shape, or "".
func mediaTypeOf(s shape.Set) (string, error) {
	switch is := shapes[s]; {
	case is != "" || s == shape.None:
		return is, nil
	case s&shape.UTF16 != 0:
		return "", fieldErrorf(FieldPayload, "JSON must be in UTF-8, not UTF-16: convert it")
	default:
		return "", fieldErrorf(FieldPayload, "ambiguous format: it has members of more than one of statement, envelope and bundle")
	}
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
// searches could not examine the content, and the store compresses payloads
// anyway. Ingest never decompresses anything.
func checkCompressed(mediaType string) error {
	base, _, _ := strings.Cut(mediaType, ";")
	for _, suffix := range []string{"+gzip", "+zstd", "+zip", "+bzip2", "+xz"} {
		if strings.HasSuffix(base, suffix) {
			return fieldErrorf(FieldMediaType, "%q is compressed: submit the uncompressed document, the log compresses it", base)
		}
	}
	return nil
}
