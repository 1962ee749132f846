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
	"muniment.dev/muniment/verifiers/sniff"
)

// maxTyped is the largest document of a typed kind, in bytes: parsed, it takes
// many times as much memory.
const maxTyped = 1 << 20

// typedMediaType is the media type of the JSON form of a typed kind's message.
func typedMediaType(kind string) string { return "application/vnd.muniment." + kind + ".v1+json" }

// typed returns the reader of a kind whose payload is the JSON form of a
// protobuf message with rules. What the rules can't say is checked by describe,
// which also says what the header has of the message.
func typed[T any, M interface {
	*T
	proto.Message
}](kind string, describe func(M, time.Time) (contents, error)) reader {
	mediaType := typedMediaType(kind)
	return func(given string, payload []byte, now time.Time) (contents, error) {
		if given != "" && given != mediaType && given != "application/json" {
			return contents{}, fieldErrorf("media_type", "%q, but this kind has the media type %q; leave it out", given, mediaType)
		}
		if err := sniff.JSON(payload); err != nil {
			return contents{}, fieldErrorf("payload", "%s", err)
		}
		m := M(new(T))
		if err := protojson.Unmarshal(payload, m); err != nil {
			return contents{}, fieldErrorf("payload", "%s", plain.DecodeError(err))
		}
		if err := fieldrules.Validate(m); err != nil {
			return contents{}, fieldErrorf("payload", "%s", violations(err))
		}
		if err := checkSpelling(payload, m); err != nil {
			return contents{}, fieldErrorf("payload", "%s", err)
		}
		c, err := describe(m, now)
		if err != nil {
			return contents{}, fieldErrorf("payload", "%s", err)
		}
		c.mediaType, c.document = mediaType, payload
		return c, nil
	}
}

// violations names all the fields that are wrong, as the JSON document does.
func violations(err error) string {
	var v *protovalidate.ValidationError
	if !errors.As(err, &v) || len(v.Violations) == 0 {
		return err.Error()
	}
	all := make([]string, len(v.Violations))
	for i, violation := range v.Violations {
		all[i] = violation.Proto.GetMessage()
		if path := jsonPath(violation); path != "" {
			all[i] = path + ": " + all[i]
		}
	}
	return strings.Join(all, "; ")
}

// jsonPath names the field of a violation, such as files[3].sizeBytes.
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

// jsonName is the JSON name of a field: some_name becomes someName.
func jsonName(field string) string {
	parts := strings.Split(field, "_")
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
