package sigstore

import (
	"errors"
	"fmt"
	"regexp"

	"muniment.dev/muniment/ledger/entry"
)

// An Identity defines the accepted certificates. At least one field of each
// pair must be set. If both are set, both must match. As in cosign, regular
// expressions match anywhere in the text: anchor them with ^ and $.
type Identity struct {
	// subject alternative name of the certificate, such as an e-mail address or
	// the URI of a workflow
	Name         string
	NameRegexp   *regexp.Regexp
	Issuer       string // OIDC issuer
	IssuerRegexp *regexp.Regexp
}

// Check returns an error that wraps ErrNotVerified unless the signer has the
// identity.
func (id Identity) Check(s entry.Signer) error {
	if err := id.match(s); err != nil {
		return fmt.Errorf("%w: %w", ErrNotVerified, err)
	}
	return nil
}

func (id Identity) match(s entry.Signer) error {
	switch {
	case id.Name == "" && id.NameRegexp == nil, id.Issuer == "" && id.IssuerRegexp == nil:
		return errors.New("no identity specified")
	case s.Identity == "" || s.Issuer == "":
		return errors.New("the signer has no identity from an issuer")
	case id.Issuer != "" && id.Issuer != s.Issuer:
		return fmt.Errorf("the certificate's identity is from issuer %q, not %q", s.Issuer, id.Issuer)
	case id.IssuerRegexp != nil && !id.IssuerRegexp.MatchString(s.Issuer):
		return fmt.Errorf("the certificate's identity is from issuer %q, which does not match %q", s.Issuer, id.IssuerRegexp)
	case id.Name != "" && id.Name != s.Identity:
		return fmt.Errorf("the certificate was issued to %q, not to %q", s.Identity, id.Name)
	case id.NameRegexp != nil && !id.NameRegexp.MatchString(s.Identity):
		return fmt.Errorf("the certificate was issued to %q, which does not match %q", s.Identity, id.NameRegexp)
	}
	return nil
}
