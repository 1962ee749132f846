package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/api/oidc"
)

// This part identifies people in browsers, who send the cookie of a session in
// place of a token. Who keeps the sessions is up to [Config.Browser].

// Errors of the sessions of browsers.
var (
	// ErrSessionEnded means that a cookie's session has ended.
	ErrSessionEnded = errors.New("authorization: the session has ended; sign in again")
	// ErrNoRule means that no tenant has a rule for a person.
	ErrNoRule = errors.New("authorization: no rule of any tenant matches this person; ask the operator of the ledger for one")
)

// AdmitBrowser is Admit for routes that also accept the session of a browser.
func (a *Authenticator) AdmitBrowser(roles Roles, next http.Handler) http.Handler {
	return a.admit(roles, true, next)
}

// Providers returns the providers with which people can sign in.
func (a *Authenticator) Providers() []oidc.SignIn { return a.dir.Load().identities.Providers() }

// Identities returns the verifier of identity tokens, or nil if there is none.
func (a *Authenticator) Identities() *oidc.Verifier { return a.dir.Load().identities }

// TenantsOf returns the names of the tenants that have a rule for the holder of
// an identity token.
func (a *Authenticator) TenantsOf(tok *oidc.Token) (names []string) {
	dir := a.dir.Load()
	for i := range dir.tenants {
		if _, rule := dir.ruleFor(dir.tenants[i].Name, tok); rule != nil {
			names = append(names, dir.tenants[i].Name)
		}
	}
	slices.Sort(names)
	return names
}

// Person returns the identity in the tenant of a person who has signed in, by
// the rules now in force. It is valid until it expires, the rule is gone, or
// the session ends.
func (a *Authenticator) Person(tenant string, tok *oidc.Token, expires time.Time, s *BrowserSession) (*Identity, error) {
	t, rule := a.dir.Load().ruleFor(tenant, tok)
	if rule == nil {
		return nil, ErrNoRule
	}
	display := rule.DisplayName
	if display == "" {
		display = tok.DisplayName()
	}
	return &Identity{Tenant: t, Name: oidcIdentity(tok.Issuer, tok.Subject), Display: display, Role: rule.Role, Kinds: rule.Kinds, Expires: expires,
		person: tok, rule: rule, browser: s, session: s.check, again: a.inForce, introduce: a.recordSession}, nil
}

// Holder returns the identity of the holder of a tenant's token. It is valid
// as long as the token, and until the session returns an error.
func (a *Authenticator) Holder(token string, session func() error) (*Identity, error) {
	found, err := a.identifyToken(token)
	if err != nil {
		return nil, err
	}
	id := *found
	id.session, id.again = session, a.inForce
	return &id, nil
}

// InSession returns the identity as one of another session.
func (a *Authenticator) InSession(id *Identity, session func() error) *Identity {
	moved := *id
	moved.session = session
	return &moved
}

// Current returns what the identity of a browser's session may do now, by the
// rules and grants in force.
func (a *Authenticator) Current(id *Identity) (*Identity, error) {
	if id.person != nil {
		return a.Person(id.Tenant.Name, id.person, id.Expires, id.browser)
	}
	g := a.grants.find(id.hash)
	if err := a.check(g); err != nil {
		return nil, err
	}
	now := g.Identity
	now.session, now.again = id.session, a.inForce
	return &now, nil
}

// Verify verifies an identity token without using it.
func (a *Authenticator) Verify(ctx context.Context, identityToken string) (*oidc.Token, error) {
	v := a.Identities()
	if v == nil {
		return nil, ErrNoIssuers
	}
	return v.Verify(ctx, identityToken)
}

// personInForce returns an error unless a rule still grants a person what the
// identity has.
func (a *Authenticator) personInForce(id *Identity) error {
	if err := a.tenantInForce(id.Tenant.Name); err != nil {
		return err
	}
	_, rule := a.dir.Load().ruleFor(id.Tenant.Name, id.person)
	switch {
	case rule == nil || rule.Role != id.Role || !slices.Equal(rule.Kinds, id.Kinds):
		return ErrNoRule
	case !a.cfg.Now().Before(id.Expires):
		return ErrSessionEnded
	}
	return nil
}

// identifyToken returns the holder of a tenant's token.
func (a *Authenticator) identifyToken(token string) (*Identity, error) {
	g := a.find(sha256.Sum256([]byte(token)))
	if err := a.check(g); err != nil {
		return nil, err
	}
	// Clients choose the hashes of the tokens that they issue, so a matching
	// hash is not enough: another tenant could have registered the same one.
	if !strings.HasPrefix(token, tokenPrefix(g.Tenant.Name)) {
		return nil, errWrongToken
	}
	return &g.Identity, nil
}
