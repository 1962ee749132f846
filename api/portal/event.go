package portal

import "muniment.dev/muniment/api/auth"

// Methods of signing in.
const (
	ByProvider      = "provider"
	ByToken         = "token"
	ByIdentityToken = "identity_token"
)

// Methods lists the methods.
var Methods = []string{ByProvider, ByToken, ByIdentityToken}

// An Outcome is the result of an attempt to sign in. It is also the code that
// the page gets.
type Outcome string

// The outcomes.
const (
	SignedIn    Outcome = "ok"
	SignedOut   Outcome = "signed_out"
	Denied      Outcome = "denied"      // the person or the provider has declined
	Expired     Outcome = "expired"     // too late, in another browser, or used before
	Refused     Outcome = "refused"     // the token, or the provider's response
	NoRule      Outcome = "no_rule"     // no tenant has a rule for the person
	Unavailable Outcome = "unavailable" // the provider does not answer
	Busy        Outcome = "busy"        // too many attempts
	Insecure    Outcome = "insecure"    // not over HTTPS
	Unknown     Outcome = "unknown"     // no such provider
	Invalid     Outcome = "invalid"     // the request
)

// Outcomes lists the outcomes of attempts to sign in.
var Outcomes = []Outcome{SignedIn, Denied, Expired, Refused, NoRule, Unavailable, Busy, Insecure, Unknown, Invalid}

// An Event is a sign-in that succeeded or failed, or a sign-out.
type Event struct {
	Method     string
	Provider   string // "" without one
	Outcome    Outcome
	Identities []*auth.Identity // of the session
	// Of a person without a rule:
	Issuer, Subject string
	Err             error
}

// A failure is why somebody could not sign in.
type failure struct {
	outcome Outcome
	err     error
}

func fail(o Outcome, err error) *failure { return &failure{o, err} }
