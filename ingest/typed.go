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
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/sniff"
)

// maxTyped is the size limit of a typed document in bytes. Parsing a document
// takes many times its size in memory.
const maxTyped = 1 << 20

// typed returns the reader of a kind whose payload is the JSON form of the
// kind's message.
func typed(k *kinds.Kind) reader {
	return func(given string, payload []byte, now time.Time) (contents, error) {
		if given != "" && given != k.MediaType && given != "application/json" {
			return contents{}, fieldErrorf(FieldMediaType, "%q is not the media type of kind %s: omit it, or use %q", given, k.Name, k.MediaType)
		}
		if err := sniff.JSON(payload); err != nil {
			return contents{}, fieldErrorf(FieldPayload, "%s", err)
		}
		m := k.New()
		if err := protojson.Unmarshal(payload, m); err != nil {
			return contents{}, fieldErrorf(FieldPayload, "%s", plain.DecodeError(err))
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
