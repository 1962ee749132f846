package signal

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"
)

// Limits of messages whose decoder has none.
const (
	maxDepth  = 64
	maxParts  = 500_000   // messages in a protobuf message
	maxTokens = 2_000_000 // of JSON
)

// A kind is one of the messages of OTLP
// (https://github.com/open-telemetry/opentelemetry-proto).
type kind int

const (
	logsRequest kind = iota + 1
	resourceLogs
	scopeLogs
	logRecord
	tracesRequest
	resourceSpans
	scopeSpans
	span
	event
	link
	resource
	scope
	keyValue
	anyValue
	arrayValue
	keyValueList
)

// within lists the fields that are messages with fields of their own.
var within = map[kind]map[protowire.Number]kind{
	logsRequest:   {1: resourceLogs},
	resourceLogs:  {1: resource, 2: scopeLogs},
	scopeLogs:     {1: scope, 2: logRecord},
	logRecord:     {5: anyValue, 6: keyValue},
	tracesRequest: {1: resourceSpans},
	resourceSpans: {1: resource, 2: scopeSpans},
	scopeSpans:    {1: scope, 2: span},
	span:          {9: keyValue, 11: event, 13: link},
	event:         {3: keyValue},
	link:          {4: keyValue},
	resource:      {1: keyValue},
	scope:         {3: keyValue},
	keyValue:      {2: anyValue},
	anyValue:      {5: arrayValue, 6: keyValueList},
	arrayValue:    {1: anyValue},
	keyValueList:  {1: keyValue},
}

// checkProto refuses a message that is too deep or has too many parts, before
// it is decoded.
func checkProto(body []byte, of kind) error {
	left := maxParts
	return checkPart(body, of, 1, &left)
}

func checkPart(part []byte, of kind, depth int, left *int) error {
	if depth > maxDepth {
		return fmt.Errorf("deeper than %d messages", maxDepth)
	}
	for len(part) > 0 {
		number, wire, n := protowire.ConsumeTag(part)
		if n < 0 {
			return protowire.ParseError(n)
		}
		part = part[n:]
		if wire == protowire.StartGroupType || wire == protowire.EndGroupType {
			return errors.New("groups are not supported")
		}
		if n = protowire.ConsumeFieldValue(number, wire, part); n < 0 {
			return protowire.ParseError(n)
		}
		value := part[:n]
		part = part[n:]
		if *left--; *left < 0 {
			return fmt.Errorf("more than %d fields", maxParts)
		}
		inner, ok := within[of][number]
		if !ok || wire != protowire.BytesType {
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		if err := checkPart(content, inner, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}

// checkJSON refuses a text that is not one JSON value, is too deep, or has too
// many tokens, before it is decoded.
func checkJSON(body []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	for n := 0; ; n++ {
		_, err := dec.ReadToken()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil:
			return err
		case n > 0 && dec.StackDepth() == 0 && dec.PeekKind() != 0:
			return errors.New("text after the JSON value")
		case dec.StackDepth() > maxDepth:
			return fmt.Errorf("deeper than %d levels", maxDepth)
		case n > maxTokens:
			return fmt.Errorf("more than %d tokens", maxTokens)
		}
	}
}
