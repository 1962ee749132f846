package ingest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sniff"
)

// maxTyped is the size limit of a typed document in bytes. Parsing a document
// takes many times its size in memory.
const maxTyped = 1 << 20

// typed returns the reader of a kind whose payload is the JSON form of the
// kind's message.
func typed(k *kinds.Kind) reader {
	return func(given string, payload []byte, now time.Time) (contents, error) {
		if k.Name == kindname.ExceptionRequest && (given == dsse.MediaType || shape.Of(payload) == shape.Envelope) {
			return readSigned(k, given, payload, now)
		}
		if given != "" && given != k.MediaType && given != "application/json" {
			return contents{}, fieldErrorf(FieldMediaType, "%q is not the media type of kind %s: omit it, or use %q", given, k.Name, k.MediaType)
		}
		return readMessage(k, payload, now, false)
	}
}

// readMessage reads the JSON form of the kind's message, which can be signed.
func readMessage(k *kinds.Kind, payload []byte, now time.Time, signed bool) (contents, error) {
	if err := sniff.JSON(payload); err != nil {
		return contents{}, fieldErrorf(FieldPayload, "%s", err)
	}
	m := k.New()
	if err := protojson.Unmarshal(payload, m); err != nil {
		return contents{}, fieldErrorf(FieldPayload, "%s", plain.DecodeError(err))
	}
	if r, ok := m.(*munimentv1.ExceptionRequest); ok && (r.Used != nil) != signed {
		return contents{}, errUsed(signed)
	}
	c, err := checkMessage(k, m, now)
	if err != nil {
		return contents{}, err
	}
	if err := checkSpelling(payload, m); err != nil {
		return contents{}, asFieldError(err)
	}
	c.document, c.message = payload, m
	return c, nil
}

// readSigned reads a signed request, as docs/spec/kinds.md defines it. The
// referee verifies the signature, because the keys are in the stream.
func readSigned(k *kinds.Kind, given string, payload []byte, now time.Time) (contents, error) {
	if given != "" && given != dsse.MediaType && given != "application/json" {
		return contents{}, fieldErrorf(FieldMediaType, "%q is not the media type of a signed request: omit it, or use %q", given, dsse.MediaType)
	}
	e, err := dsse.Parse(payload)
	if err != nil {
		return contents{}, fieldErrorf(FieldPayload, "%s", err)
	}
	if e.PayloadType != kinds.BreakGlassType {
		return contents{}, payloadErrorf("payloadType", "%q: a signed request has %s", e.PayloadType, kinds.BreakGlassType)
	}
	if n := len(e.KeyIDs()); n != 1 {
		return contents{}, payloadErrorf("signatures", "%d signatures: a signed request has one", n)
	}
	if err := entry.CheckKeyID(e.KeyIDs()[0]); err != nil {
		return contents{}, payloadErrorf("signatures[0].keyid", "%s", err)
	}
	c, err := readMessage(k, e.Payload, now, true)
	if err != nil {
		return contents{}, err
	}
	c.mediaType, c.envelope, c.attributes["keyId"] = dsse.MediaType, e, e.KeyIDs()[0]
	return c, nil
}

func errUsed(signed bool) error {
	if signed {
		return payloadErrorf("used", "missing: a signed request is for one log, tenant and time")
	}
	return payloadErrorf("used", "only a signed request can have it: submit the envelope")
}

// checkMessage validates a message of the kind and returns its contents.
func checkMessage(k *kinds.Kind, m proto.Message, now time.Time) (contents, error) {
	if err := fieldrules.Validate(m); err != nil {
		return contents{}, violations(err)
	}
	c := headerOf(k, m)
	if check, ok := kindRules[k.Name]; ok {
		if err := check(m, now, &c); err != nil {
			return contents{}, asFieldError(err)
		}
	}
	return c, nil
}

// headerOf returns the contents of a message of the kind that go into the
// header.
func headerOf(k *kinds.Kind, m proto.Message) contents {
	h := k.Header(m)
	return contents{mediaType: k.MediaType, subjects: artifacts(h.Subjects), materials: artifacts(h.Materials), controls: h.Controls, attributes: h.Attributes}
}

func artifacts(all []*munimentv1.Artifact) []entry.Subject {
	var out []entry.Subject
	for _, a := range all {
		out = append(out, entry.Subject{Name: a.Name, Digest: folded(a.Digest)})
	}
	return out
}

// folded returns digests in the spelling used in headers.
func folded(digests map[string]string) map[string]string {
	out := make(map[string]string, len(digests))
	for alg, v := range digests {
		alg, v = entry.FoldDigest(alg, v)
		out[alg] = v
	}
	return out
}

// violations returns an error that lists all invalid fields by their JSON
// names. Its path is that of the first field.
func violations(err error) error {
	var v *protovalidate.ValidationError
	if !errors.As(err, &v) || len(v.Violations) == 0 {
		return fieldErrorf(FieldPayload, "%s", err)
	}
	all := make([]string, len(v.Violations))
	for i, violation := range v.Violations {
		all[i] = violation.Proto.GetMessage()
		if path := jsonPath(violation); i > 0 && path != "" {
			all[i] = path + ": " + all[i]
		}
	}
	return payloadErrorf(jsonPath(v.Violations[0]), "%s", strings.Join(all, "; "))
}

// jsonPath returns the path of the field of a violation, such as
// files[3].sizeBytes.
func jsonPath(v *protovalidate.Violation) string {
	var b strings.Builder
	for i, e := range v.Proto.GetField().GetElements() {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(jsonName(e.GetFieldName()))
		switch {
		case e.HasIndex():
			fmt.Fprintf(&b, "[%d]", e.GetIndex())
		case e.HasStringKey():
			fmt.Fprintf(&b, "[%q]", e.GetStringKey())
		}
	}
	return b.String()
}

// jsonName returns the JSON name of a field: someName for some_name.
func jsonName(field string) string {
	parts := strings.Split(field, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
