package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ledger"
)

// A Directory lists the tenants and operators of a server.
type Directory struct {
	Tenants []Tenant
	// Identities verifies the identity tokens that can be exchanged. Nil: none
	// can.
	Identities *oidc.Verifier
	Operators  []Operator
}

// A Tenant is a customer of the log, with a stream of its own.
type Tenant struct {
	Name         string
	Stream       *ledger.Stream
	Tokens       []Token
	Rules        []IdentityRule    // the first match applies
	Certificates []CertificateRule // the first match applies
	Limits       limit.TenantLimits
	// Suspended tenants keep their entries and credentials, but their calls are
	// refused.
	Suspended bool
}

// A Token is a static token of the configuration.
type Token struct {
	ID      string // unique in the tenant
	Hash    [sha256.Size]byte
	Role    Role
	Kinds   []string  // limits the kinds of entries; empty: all kinds of the role
	Expires time.Time // zero: never
}

// An IdentityRule grants a role to the holders of matching identity tokens.
type IdentityRule struct {
	Name string // recorded
	// DisplayName is shown for the person whom the rule is for. "": the name
	// that the issuer states.
	DisplayName string
	oidc.Rule
	Role  Role
	Kinds []string
	Life  time.Duration // of the ledger's token, at most MaxSession; 0: MaxSession
}

// MaxSession is the maximum lifetime of a token issued for an identity token.
const MaxSession = 15 * time.Minute

func (r *IdentityRule) life() time.Duration {
	if r.Life > 0 {
		return min(r.Life, MaxSession)
	}
	return MaxSession
}

// A CertificateRule grants a role to the holder of a client certificate.
// Exactly one of URI, DNS and CommonName is set, and must match exactly.
type CertificateRule struct {
	URI        string // subject alternative name, such as a SPIFFE ID
	DNS        string // subject alternative name
	CommonName string
	Role       Role
	Kinds      []string
}

// String returns the kind and value of the rule's name, such as
// "uri:spiffe://acme.example/ci".
func (r *CertificateRule) String() string {
	switch {
	case r.URI != "":
		return "uri:" + r.URI
	case r.DNS != "":
		return "dns:" + r.DNS
	}
	return "cn:" + r.CommonName
}

func (r *CertificateRule) match(c *x509.Certificate) bool {
	switch {
	case r.URI != "":
		for _, u := range c.URIs {
			if u.String() == r.URI {
				return true
			}
		}
		return false
	case r.DNS != "":
		return slices.Contains(c.DNSNames, r.DNS)
	}
	return r.CommonName != "" && c.Subject.CommonName == r.CommonName
}

// An Operator can read /metrics and the details of /readyz. It belongs to no
// tenant and cannot read evidence.
type Operator struct {
	ID      string
	Hash    [sha256.Size]byte // of its token
	Expires time.Time         // zero: never
}
