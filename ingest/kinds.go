package ingest

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"

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
	"backfill-checkpoint": {event, typed("application/vnd.muniment.backfill-checkpoint.v1+json", func() proto.Message { return &munimentv1.BackfillCheckpoint{} })},
}

// Kinds returns the names of all kinds, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// IsEvent says whether submissions of the kind need an idempotency key.
func IsEvent(name string) bool { return kinds[name].class == event }

// contents is what reading a payload has told about it.
type contents struct {
	mediaType     string
	subjects      []receipt.Subject
	predicateType string
	signers       []receipt.Signer
}

// typed returns the reader of a kind whose payload is the JSON form of a protobuf message with rules.
func typed(mediaType string, message func() proto.Message) func(string, []byte) (contents, error) {
	return func(given string, payload []byte) (contents, error) {
		if given != "" && given != mediaType && given != "application/json" {
			return contents{}, fieldErrorf("media_type", "%q, but this kind has the media type %q; leave it out", given, mediaType)
		}
		m := message()
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
	is := mediaType
	if is == "" {
		if is = recognise(payload); is == "" {
			return contents{}, fieldErrorf("media_type", "missing, and the payload is not a Sigstore bundle, DSSE envelope or in-toto statement; say what it is, such as application/spdx+json")
		}
	}
	var c contents
	var err error
	switch {
	case strings.HasPrefix(is, sigstore.MediaTypePrefix):
		var b *sigstore.Bundle
		if b, err = sigstore.Parse(payload); err == nil {
			c = contents{b.MediaType, b.Subjects, b.PredicateType, b.Signers}
			if mediaType != "" && mediaType != b.MediaType {
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
		c = contents{mediaType: is}
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
	base, _, err := mime.ParseMediaType(mediaType)
	if err != nil || !strings.Contains(base, "/") {
		return fieldErrorf("media_type", "%q is not a media type", mediaType)
	}
	if base != "application/json" && !strings.HasSuffix(base, "+json") {
		return nil
	}
	if v := jsontext.Value(payload); !v.IsValid(jsontext.AllowDuplicateNames(true)) {
		return fmt.Errorf("not JSON, though the media type is %s", base)
	}
	return nil
}
