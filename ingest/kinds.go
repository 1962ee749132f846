package ingest

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A class says how the same submission is recognised when it comes again.
type class int

const (
	evidence class = iota // by its content
	event                 // by the idempotency key that the client gives
)

// A kind is one sort of record. See docs/spec/kinds.md.
type kind struct {
	class class
	read  func(mediaType string, payload []byte) (contents, error)
}

// kinds is the table of all kinds. A new kind is a line here, a message in kinds.proto and a section in docs/spec/kinds.md.
var kinds = map[string]kind{
	"attestation":         {evidence, readAttestation},
	"backfill-checkpoint": {event, typed("application/vnd.muniment.backfill-checkpoint.v1+json", checkBackfill)},
}

// Kinds returns the names of all kinds, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// IsEvent says whether submissions of the kind need an idempotency key.
func IsEvent(name string) bool { return kinds[name].class == event }

// WrittenByLog says whether only the log itself writes entries of the kind.
func WrittenByLog(name string) bool { return name == "config" || name == "erasure" }

// contents is what reading a payload has told about it.
type contents struct {
	mediaType     string
	subjects      []receipt.Subject
	predicateType string
	signers       []receipt.Signer
}

// checkBackfill checks what the message's rules can't say: that there is such a day.
func checkBackfill(m *munimentv1.BackfillCheckpoint) error {
	for _, layout := range []string{"2006-01-02T15:04Z07:00", time.RFC3339Nano} {
		if _, err := time.Parse(layout, m.GetTs()); err == nil {
			return nil
		}
	}
	return fmt.Errorf("ts: there is no such time as %q", m.GetTs())
}

// typed returns the reader of a kind whose payload is the JSON form of a protobuf message with rules, and of a further check.
func typed[T any, M interface {
	*T
	proto.Message
}](mediaType string, check func(M) error) func(string, []byte) (contents, error) {
	return func(given string, payload []byte) (contents, error) {
		if given != "" && given != mediaType && given != "application/json" {
			return contents{}, fieldErrorf("media_type", "%q, but this kind has the media type %q; leave it out", given, mediaType)
		}
		m := M(new(T))
		if err := protojson.Unmarshal(payload, m); err != nil {
			return contents{}, fieldErrorf("payload", "%s", cleanProtoError(err))
		}
		if err := protovalidate.Validate(m); err != nil {
			var v *protovalidate.ValidationError
			if errors.As(err, &v) && len(v.Violations) > 0 {
				all := make([]string, len(v.Violations))
				for i, violation := range v.Violations {
					all[i] = jsonPath(violation) + ": " + violation.Proto.GetMessage()
				}
				return contents{}, fieldErrorf("payload", "%s", strings.Join(all, "; "))
			}
			return contents{}, fieldErrorf("payload", "%s", err)
		}
		if err := check(m); err != nil {
			return contents{}, fieldErrorf("payload", "%s", err)
		}
		return contents{mediaType: mediaType}, nil
	}
}

// jsonPath names the field of a violation as the JSON document does.
func jsonPath(v *protovalidate.Violation) string {
	if v.FieldDescriptor != nil {
		return v.FieldDescriptor.JSONName()
	}
	return protovalidate.FieldPathString(v.Proto.GetField())
}

// cleanProtoError drops the module's own prefix, whose white space differs from build to build.
func cleanProtoError(err error) string {
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return strings.TrimPrefix(s, "proto: ")
}

// readAttestation recognises bundles, envelopes and statements, and takes other documents by their explicit media type.
func readAttestation(mediaType string, payload []byte) (contents, error) {
	is, err := canonicalType(mediaType)
	if err != nil {
		return contents{}, err
	}
	if is == "" {
		if is = recognise(payload); is == "" {
			return contents{}, fieldErrorf("media_type", "missing, and the payload is not a Sigstore bundle, DSSE envelope or in-toto statement; say what it is, such as application/spdx+json")
		}
	}
	var c contents
	switch {
	case strings.HasPrefix(is, sigstore.MediaTypePrefix):
		var b *sigstore.Bundle
		if b, err = sigstore.Parse(payload); err == nil {
			c = contents{b.MediaType, b.Subjects, b.PredicateType, b.Signers}
			if declared, _ := canonicalType(b.MediaType); mediaType != "" && is != declared {
				return contents{}, fieldErrorf("media_type", "%q, but the bundle says %q", mediaType, b.MediaType)
			}
		}
	case is == dsse.MediaType:
		c, err = readEnvelope(payload)
	case is == intoto.MediaType:
		var s *intoto.Statement
		if s, err = intoto.Parse(payload); err == nil {
			c = contents{mediaType: is, subjects: s.Subjects, predicateType: s.PredicateType}
		}
	default:
		c = contents{mediaType: mediaType} // as it was given
		err = checkDocument(is, payload)
	}
	var field *FieldError
	if errors.As(err, &field) {
		return contents{}, err
	}
	if err != nil {
		return contents{}, fieldErrorf("payload", "%s", cleanProtoError(err))
	}
	return c, nil
}

// canonicalType brings a media type into one spelling: without it, a type that differs in case or white space would be taken for another. Of
// envelopes and statements the parameters, which they don't have, are dropped.
func canonicalType(mediaType string) (string, error) {
	if mediaType == "" {
		return "", nil
	}
	base, params, err := mime.ParseMediaType(mediaType)
	if err != nil || !strings.Contains(base, "/") {
		return "", fieldErrorf("media_type", "%q is not a media type", mediaType)
	}
	if base == dsse.MediaType || base == intoto.MediaType {
		return base, nil
	}
	return mime.FormatMediaType(base, params), nil
}

func readEnvelope(payload []byte) (contents, error) {
	e, err := dsse.Parse(payload)
	if err != nil {
		return contents{}, err
	}
	c := contents{mediaType: dsse.MediaType, signers: e.Signers}
	if e.PayloadType == intoto.MediaType {
		s, err := intoto.Parse(e.Payload)
		if err != nil {
			return contents{}, fmt.Errorf("DSSE envelope: payload: %w", err)
		}
		c.subjects, c.predicateType = s.Subjects, s.PredicateType
	}
	return c, nil
}

// recognise returns the media type of a document that shows it by its members, or "".
func recognise(payload []byte) string {
	dec := jsontext.NewDecoder(strings.NewReader(string(payload)))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return ""
	}
	seen := map[string]bool{}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			break
		}
		key := name.String()
		seen[key] = true
		if (key == "mediaType" || key == "_type") && dec.PeekKind() == '"' {
			v, err := dec.ReadToken()
			if err != nil {
				break
			}
			switch s := v.String(); {
			case key == "mediaType" && strings.HasPrefix(s, sigstore.MediaTypePrefix):
				return sigstore.MediaTypePrefix
			case key == "_type" && (s == intoto.TypeV01 || s == intoto.TypeV1):
				return intoto.MediaType
			}
		} else if err := dec.SkipValue(); err != nil {
			break
		}
	}
	if seen["payloadType"] && seen["payload"] && seen["signatures"] {
		return dsse.MediaType
	}
	return ""
}

// checkDocument makes sure that what calls itself JSON is.
func checkDocument(mediaType string, payload []byte) error {
	base, _, _ := strings.Cut(mediaType, ";")
	if base != "application/json" && !strings.HasSuffix(base, "+json") {
		return nil
	}
	if v := jsontext.Value(payload); !v.IsValid(jsontext.AllowDuplicateNames(true)) {
		return fmt.Errorf("not JSON, though the media type is %s", base)
	}
	return nil
}
