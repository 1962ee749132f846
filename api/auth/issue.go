package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// A Grant describes a tenant's token that does not come from an exchange.
type Grant struct {
	ID      string // unique in the tenant, permanently
	Role    Role
	Kinds   []string
	Expires time.Time // zero: never
}

// Errors of Issue and Revoke.
var (
	ErrIDTaken       = errors.New("a grant with this ID exists or has existed: choose another")
	ErrTokenTaken    = errors.New("a grant for this token exists or has existed: draw another token")
	ErrTooManyGrants = fmt.Errorf("the tenant has %d grants, which is the limit", maxGrants)
	ErrNoGrant       = errors.New("no such grant is in force")
)

// Issue records a grant in the caller's tenant and puts it in force. hash is
// the SHA-256 of a token that the caller has drawn, or nil. Without it, Issue
// draws the token and returns it.
func (a *Authenticator) Issue(ctx context.Context, who *Identity, m Grant, hash []byte, reason string) (token string, r ledger.Result, err error) {
	g := &grant{id: m.ID, Identity: Identity{Tenant: who.Tenant, Name: tokenName(m.ID), Role: m.Role, Kinds: m.Kinds, Expires: m.Expires}}
	if len(hash) > 0 {
		g.hash = tokenHash(hash)
	} else {
		token, g.hash = newToken(who.Tenant.Name)
	}
	if err := a.grants.reserve(g); err != nil {
		return "", r, err
	}
	defer a.grants.release(g)
	document, err := json.Marshal(g.document())
	if err != nil {
		return "", r, err
	}
	// A recorded grant must be in force, even if the caller has gone meanwhile.
	r, err = a.cfg.Ingest.RecordConfig(context.WithoutCancel(ctx), who.Submitter(), ingest.Basis{}, grantType+"/"+g.id, document, reason)
	if err != nil && r.Err == nil { // not recorded; r.Err concerns a receipt
		return "", r, err
	}
	a.grants.add(g)
	return token, r, err
}

// Revoke ends a grant of the caller's tenant for good.
func (a *Authenticator) Revoke(ctx context.Context, who *Identity, id, reason string) (ledger.Result, error) {
	g := a.grants.get(who.Tenant.Name, id)
	if g == nil || g.revoked {
		return ledger.Result{}, ErrNoGrant
	}
	// The grant ends first, so that what is decided after the revocation is
	// recorded is not decided by it.
	if !a.grants.revoke(g) { // another caller was first
		return ledger.Result{}, ErrNoGrant
	}
	by := who.Submitter()
	by.Valid = nil // a holder can revoke its own grant
	r, err := a.cfg.Ingest.RecordConfig(context.WithoutCancel(ctx), by, ingest.Basis{}, grantType+"/"+g.id, nil, reason)
	if err != nil && r.Err == nil { // not recorded; r.Err concerns a receipt
		a.grants.restore(g)
	}
	return r, err
}

// Grants returns the tenant's grants that are neither revoked nor expired.
func (a *Authenticator) Grants(tenant *Tenant) (out []Grant) {
	for _, g := range a.grants.list(tenant.Name, a.cfg.Now()) {
		out = append(out, Grant{ID: g.id, Role: g.Role, Kinds: g.Kinds, Expires: g.Expires})
	}
	return out
}

// tokenName returns the submitter name of a token's holder.
func tokenName(id string) string { return "token:" + id }
