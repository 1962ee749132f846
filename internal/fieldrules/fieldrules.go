// Package fieldrules checks the rules of protobuf messages, and words what is
// wrong without regular expressions.
package fieldrules

import (
	"errors"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
)

// patterns has a sentence for each regular expression of the API's rules.
var patterns = map[string]string{
	`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`:                "must be 1 to 63 lowercase letters, digits and hyphens, with no hyphen at either end",
	`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`:              "must be 1 to 63 lowercase letters, digits, dots, underscores and hyphens, with a letter or digit at both ends",
	`^[a-z][a-z0-9-]{0,62}$`:                              "must be 1 to 63 lowercase letters, digits and hyphens, and begin with a letter",
	`^$|^[a-z][a-z0-9-]{0,62}$`:                           "must be 1 to 63 lowercase letters, digits and hyphens, and begin with a letter",
	`^[a-z0-9][a-zA-Z0-9._/-]{0,254}$`:                    "must be 1 to 255 letters, digits, dots, underscores, slashes and hyphens, and begin with a lowercase letter or a digit",
	`^[A-Za-z][A-Za-z0-9_.-]{0,127}$`:                     "must be 1 to 128 letters, digits, underscores, dots and hyphens, and begin with a letter",
	`^[A-Za-z0-9][A-Za-z0-9-]{0,62}$`:                     "must be 1 to 63 letters, digits and hyphens, with no hyphen at the start",
	`^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$`:                  "must be 1 to 63 letters, digits, underscores, dots, slashes and hyphens, and begin with a letter or digit",
	`^[0-9a-f]{32}$`:                                      "must be 32 lowercase hexadecimal digits",
	`^sha256:[0-9a-f]{64}$`:                               "must be sha256: and 64 lowercase hexadecimal digits",
	`^$|^sha256:[0-9a-fA-F]{64}$`:                         "must be sha256: and 64 hexadecimal digits",
	`^$|^[^:]+:.+$`:                                       "must be an algorithm, a colon and a digest, such as sha256:2cf2…",
	`^$|^[^=]+=.+$`:                                       "must be a name, an equals sign and a value, such as team=payments",
	`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`:     "must be 1 to 63 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends",
	`^$|^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$`: "must be 1 to 128 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends",

	`^$|^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( ?; ?[A-Za-z0-9!#$&^_.+-]+=[A-Za-z0-9!#$&^_.+-]+)*$`: "must be a media type, such as application/json",
}

// A Validator checks the rules of messages, and words what is wrong.
type Validator struct{}

// Validate implements protovalidate.Validator.
func (Validator) Validate(m proto.Message, options ...protovalidate.ValidationOption) error {
	err := protovalidate.Validate(m, options...)
	var v *protovalidate.ValidationError
	if !errors.As(err, &v) {
		return err
	}
	for _, x := range v.Violations {
		if x.Proto.GetRuleId() != "string.pattern" {
			continue
		}
		message, ok := patterns[x.RuleValue.String()]
		if !ok {
			message = "is malformed" // a test keeps the table whole
		}
		x.Proto.Message = &message
	}
	return err
}

// Validate returns what is wrong with a message.
func Validate(m proto.Message) error { return Validator{}.Validate(m) }
