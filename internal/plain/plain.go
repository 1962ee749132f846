// Package plain rewords the errors of libraries for users. It removes Go types
// and module names.
package plain

import (
	"regexp"
	"strings"
)

var decodeErrors = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`\bproto: `), ""},
	{regexp.MustCompile(`failed to proto-json unmarshal [a-z ]+: `), ""},
	{regexp.MustCompile(`\bjsontext: `), ""},
	{regexp.MustCompile(`json: (?:cannot|unable to) unmarshal(?: JSON \w+)? into Go .*: unknown object member name`), "unknown member"},
	{regexp.MustCompile(`json: (?:cannot|unable to) unmarshal(?: JSON \w+)? into Go [^"]* within ("[^"]*"): `), "$1: "},
	{regexp.MustCompile(`json: (?:cannot|unable to) unmarshal(?: JSON \w+)? into Go [^"]* within ("[^"]*")`), "$1: wrong type"},
	{regexp.MustCompile(`json: (?:cannot|unable to) unmarshal(?: JSON \w+)? into Go \S+`), "wrong type"},
	{regexp.MustCompile(`invalid google\.protobuf\.Timestamp value `), "not a time such as \"2026-01-31T12:00:00Z\": "},
	{regexp.MustCompile(`invalid google\.protobuf\.Duration value `), "not a duration such as \"3.5s\": "},
	{regexp.MustCompile(`google\.protobuf\.(Timestamp|Duration) value out of range`), "the value is out of range"},
	{regexp.MustCompile(`invalid google\.protobuf\.[A-Za-z]+`), "invalid value"},
	{regexp.MustCompile(`invalid value for bool (field|key)`), "not true or false, in the $1"},
	{regexp.MustCompile(`invalid value for (?:u?int|s?fixed|sint)(?:32|64) (field|key)`), "not a whole number in range, in the $1"},
	{regexp.MustCompile(`invalid value for (?:float|double) (field|key)`), "not a number, in the $1"},
	{regexp.MustCompile(`invalid value for bytes (field|key)`), "not base64, in the $1"},
	{regexp.MustCompile(`invalid value for string (field|key)`), "not a string, in the $1"},
	{regexp.MustCompile(`invalid value for enum (field|key)`), "not one of the values of the $1"},
	{regexp.MustCompile(`string field contains invalid UTF-8`), "a text is not UTF-8"},
	{regexp.MustCompile(`cannot parse invalid wire-format data`), "not a protobuf message"},
	{regexp.MustCompile(`json: (?:cannot|unable to) unmarshal .*`), "wrong type"},
	{regexp.MustCompile(`\bjson: `), ""},
	{regexp.MustCompile(`asn1: (?:structure|syntax) error: .*`), "not valid DER"},
	{regexp.MustCompile(`\basn1: `), ""},
	{regexp.MustCompile(`(?:error )?unmarshal+ing (DER-encoded|public key|canonicali[sz]ed body)`), "decoding $1"},
	{regexp.MustCompile(`cbor: cannot unmarshal .*`), "wrong type"},
	{regexp.MustCompile(`\bcbor: `), ""},
	{regexp.MustCompile(`\bx509: `), ""},
	{regexp.MustCompile(`illegal base64 data at input byte (\d+)`), "not base64 from byte $1"},
	{regexp.MustCompile(`encoding/hex: .*`), "not hexadecimal"},
	{regexp.MustCompile(`strconv\.\w+: parsing (".*"): (?:invalid syntax|value out of range)`), "not a number in range: $1"},
}

// DecodeError rewords an error from a library that decodes a document, a key or
// a certificate.
func DecodeError(err error) error {
	if err == nil {
		return nil
	}
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ") // differs from build to build
	for _, d := range decodeErrors {
		if at := d.pattern.FindStringSubmatchIndex(s); at != nil {
			s = s[:at[0]] + string(d.pattern.ExpandString(nil, d.text, s, at)) + s[at[1]:]
		}
	}
	if s == err.Error() {
		return err
	}
	return &decodeError{s, err}
}

type decodeError struct {
	text  string
	cause error
}

func (e *decodeError) Error() string { return e.text }
func (e *decodeError) Unwrap() error { return e.cause }
