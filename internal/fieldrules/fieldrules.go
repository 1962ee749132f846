// Package fieldrules validates protobuf messages and reports violations in
// plain English, without regular expressions.
package fieldrules

import (
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// sentences maps the IDs of rules with a value to messages for their violation.
// Other rules keep their own message or that of protovalidate.
var sentences = map[string]func(value protoreflect.Value) string{
	"required":           func(protoreflect.Value) string { return "is required" },
	"string.pattern":     func(v protoreflect.Value) string { return patterns[v.String()] },
	"string.min_len":     func(v protoreflect.Value) string { return atLeast(v, "characters") },
	"string.max_len":     func(v protoreflect.Value) string { return atMost(v, "characters") },
	"string.in":          func(v protoreflect.Value) string { return oneOf(v.List()) },
	"bytes.min_len":      func(v protoreflect.Value) string { return atLeast(v, "bytes") },
	"bytes.max_len":      func(v protoreflect.Value) string { return atMost(v, "bytes") },
	"repeated.min_items": func(v protoreflect.Value) string { return atLeast(v, "items") },
	"repeated.max_items": func(v protoreflect.Value) string { return atMost(v, "items") },
	"repeated.unique":    func(protoreflect.Value) string { return "must not contain duplicates" },
	"map.min_pairs":      func(v protoreflect.Value) string { return atLeast(v, "members") },
	"map.max_pairs":      func(v protoreflect.Value) string { return atMost(v, "members") },
}

func atLeast(limit protoreflect.Value, things string) string {
	if limit.Uint() == 1 {
		return "must not be empty"
	}
	return fmt.Sprintf("must have at least %d %s", limit.Uint(), things)
}

func atMost(limit protoreflect.Value, things string) string {
	return fmt.Sprintf("must have at most %d %s", limit.Uint(), things)
}

func oneOf(values protoreflect.List) string {
	names := make([]string, values.Len())
	for i := range names {
		names[i] = values.Get(i).String()
	}
	return "must be one of " + strings.Join(names, ", ")
}

// patterns maps each regular expression in the API's rules to a message.
var patterns = map[string]string{
	`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`:                "must be 1 to 63 lowercase letters, digits and hyphens, with no hyphen at either end",
	`^$|^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`:             "must be 1 to 63 lowercase letters, digits and hyphens, with no hyphen at either end",
	`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`:              "must be 1 to 63 lowercase letters, digits, dots, underscores and hyphens, with a letter or digit at both ends",
	`^[a-z][a-z0-9-]{0,62}$`:                              "must be 1 to 63 lowercase letters, digits and hyphens, and begin with a letter",
	`^$|^[a-z][a-z0-9-]{0,62}$`:                           "must be 1 to 63 lowercase letters, digits and hyphens, and begin with a letter",
	`^[a-z0-9][a-zA-Z0-9._/-]{0,254}$`:                    "must be 1 to 255 letters, digits, dots, underscores, slashes and hyphens, and begin with a lowercase letter or a digit",
	`^[A-Za-z][A-Za-z0-9_.-]{0,127}$`:                     "must be 1 to 128 letters, digits, underscores, dots and hyphens, and begin with a letter",
	`^[A-Za-z0-9][A-Za-z0-9-]{0,62}$`:                     "must be 1 to 63 letters, digits and hyphens, with no hyphen at the start",
	`^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$`:                  "must be 1 to 63 letters, digits, underscores, dots, slashes and hyphens, and begin with a letter or digit",
	`^[^:]{1,127}: .{1,127}$`:                             "must be a framework, a colon and a requirement, such as NIST SP 800-53: SI-2",
	`^oidc:[^#]+#.+$`:                                     "must be a person: oidc:, the issuer, # and the subject",
	`^[a-z0-9-]{1,64}$`:                                   "must be 1 to 64 lowercase letters, digits and hyphens",
	`^$|^[a-z0-9-]{1,64}$`:                                "must be 1 to 64 lowercase letters, digits and hyphens",
	`^$|^sha256:[0-9a-f]{64}$`:                            "must be sha256: and 64 lowercase hexadecimal digits",
	`^$|^[0-9a-f]{64}$`:                                   "must be 64 lowercase hexadecimal digits",
	`^$|^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`:                "must be 1 to 64 letters, digits, dots, underscores and hyphens, and begin with a letter or digit",
	`^[0-9a-f]{32}$`:                                      "must be 32 lowercase hexadecimal digits",
	`^sha256:[0-9a-f]{64}$`:                               "must be sha256: and 64 lowercase hexadecimal digits",
	`^$|^sha256:[0-9a-fA-F]{64}$`:                         "must be sha256: and 64 hexadecimal digits",
	`^$|^[^:]+:.+$`:                                       "must be an algorithm, a colon and a digest, such as sha256:2cf2…",
	`^$|^[^=]+=.+$`:                                       "must be a name, an equals sign and a value, such as team=payments",
	`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`:     "must be 1 to 63 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends",
	`^$|^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`: "must be 1 to 128 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends",

	`^$|^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( ?; ?[A-Za-z0-9!#$&^_.+-]+=[A-Za-z0-9!#$&^_.+-]+)*$`: "must be a media type, such as application/json",
}

// A Validator validates messages.
type Validator struct{}

// Validate implements protovalidate.Validator.
func (Validator) Validate(m proto.Message, options ...protovalidate.ValidationOption) error {
	err := protovalidate.Validate(m, options...)
	if err == nil {
		return nil
	}
	var v *protovalidate.ValidationError
	if !errors.As(err, &v) {
		return err
	}
	for _, x := range v.Violations {
		sentence, ok := sentences[x.Proto.GetRuleId()]
		if !ok {
			continue
		}
		message := sentence(x.RuleValue)
		if message == "" { // an unknown pattern, which a test rules out
			message = "is malformed"
		}
		x.Proto.Message = &message
	}
	return err
}

// Validate returns a *protovalidate.ValidationError if the message is invalid.
func Validate(m proto.Message) error { return Validator{}.Validate(m) }
