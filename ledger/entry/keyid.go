package entry

import (
	"errors"
	"regexp"
)

// keyID matches the key IDs of verified signers.
var keyID = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|pgp:([0-9a-f]{40}|[0-9a-f]{64}))$`)

// CheckKeyID returns an error unless the text has the form of the key ID of a
// verified signer. No evidence has a key ID of another form.
func CheckKeyID(id string) error {
	if !keyID.MatchString(id) {
		return errors.New("not a key ID: it must be sha256: and 64 hexadecimal digits, or pgp: and 40 or 64, in lower case")
	}
	return nil
}
