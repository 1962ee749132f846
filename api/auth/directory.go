package auth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/oidc"
)

// A directory is a Directory in force. It is immutable and replaced as a whole.
type directory struct {
	tenants    []Tenant
	byName     map[string]*Tenant
	identities *oidc.Verifier
	operators  map[tokenHash]*Operator
	usages     *limit.Usages
}

// newDirectory indexes d and loads the usage of its tenants.
func (a *Authenticator) newDirectory(ctx context.Context, d Directory) (*directory, error) {
	dir := &directory{tenants: d.Tenants, byName: map[string]*Tenant{}, identities: d.Identities, operators: map[tokenHash]*Operator{}}
	for i := range dir.tenants {
		t := &dir.tenants[i]
		dir.byName[t.Name] = t
	}
	var err error
	if dir.usages, err = a.cfg.Limits.Load(ctx, a.cfg.Ledger, dir.accounts()); err != nil {
		return nil, err
	}
	for i := range d.Operators {
		dir.operators[d.Operators[i].Hash] = &d.Operators[i]
	}
	return dir, nil
}

// Count returns the number of tenants, and how many of them are suspended.
func (a *Authenticator) Count() (tenants, suspended int) {
	dir := a.dir.Load()
	for i := range dir.tenants {
		if dir.tenants[i].Suspended {
			suspended++
		}
	}
	return len(dir.tenants), suspended
}

// Reload replaces the directory. Callers whose credentials were removed are
// refused from now on, and their streams end with the next message. Removing a
// tenant removes all its credentials, including those recorded in its stream.
// After an error, nothing has changed. Calls to Reload must not overlap.
func (a *Authenticator) Reload(ctx context.Context, d Directory) error {
	old := a.dir.Load()
	for i := range d.Tenants {
		t := &d.Tenants[i]
		if was := old.byName[t.Name]; was != nil && was.Stream.ID != t.Stream.ID {
			return fmt.Errorf("tenant %s: its stream key has changed: a tenant's stream is permanent: restore the key", t.Name)
		}
	}
	dir, err := a.newDirectory(ctx, d)
	if err != nil {
		return err
	}
	// Read the grants of new tenants before they come into force.
	added := newGrants(a.inForce)
	for i := range dir.tenants {
		if t := &dir.tenants[i]; old.byName[t.Name] == nil {
			if err := a.loadTenantGrants(ctx, added, t); err != nil {
				return err
			}
		}
	}
	a.cfg.Limits.SetUsages(dir.usages)
	a.grants.replaceTenants(old, dir, added)
	a.dir.Store(dir)
	return nil
}

// Recount counts anew what tenants with daily limits have appended today. Calls
// to it and Reload must not overlap.
func (a *Authenticator) Recount(ctx context.Context) error {
	usages, err := a.cfg.Limits.Recount(ctx, a.cfg.Ledger, a.dir.Load().accounts())
	if err == nil {
		a.cfg.Limits.SetUsages(usages)
	}
	return err
}

// accounts returns the accounts of the tenants.
func (d *directory) accounts() []limit.Account {
	accounts := make([]limit.Account, len(d.tenants))
	for i := range d.tenants {
		t := &d.tenants[i]
		accounts[i] = limit.Account{Name: t.Name, Stream: t.Stream, Limits: t.Limits}
	}
	return accounts
}

var errSuspended = errors.New("authorization: this tenant is suspended; ask the operator of the ledger")

// tenantInForce returns an error unless callers may act for the tenant.
func (a *Authenticator) tenantInForce(name string) error {
	switch t := a.dir.Load().byName[name]; {
	case t == nil:
		return errWrongToken
	case t.Suspended:
		return errSuspended
	}
	return nil
}

// replaceTenants moves from one directory to another. It drops the grants of
// removed tenants, adds those of new ones, and updates the configured tokens of
// the others. Grants and revocations recorded in a stream remain.
func (gs *grants) replaceTenants(old, dir *directory, added *grants) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for name := range old.byName {
		if dir.byName[name] == nil {
			gs.forgetTenant(name)
		}
	}
	for i := range dir.tenants {
		if t := &dir.tenants[i]; old.byName[t.Name] != nil {
			gs.replaceConfigured(t)
		}
	}
	maps.Copy(gs.byHash, added.byHash)
	maps.Copy(gs.byID, added.byID)
	maps.Copy(gs.used, added.used)
	gs.sessions += added.sessions
}

// forgetTenant drops all grants of the tenant. The caller holds gs.mu.
func (gs *grants) forgetTenant(name string) {
	for hash, g := range gs.byHash {
		if g.Tenant.Name == name {
			delete(gs.byHash, hash)
			if g.id == "" {
				gs.sessions--
			}
		}
	}
	delete(gs.byID, name)
}

// replaceConfigured updates the tenant's grants to match the configured tokens.
// The caller holds gs.mu.
func (gs *grants) replaceConfigured(t *Tenant) {
	ids := gs.byID[t.Name]
	for id, g := range ids {
		if g != nil && g.configured && !g.revoked && !slices.ContainsFunc(t.Tokens, func(tok Token) bool { return tok.ID == id }) {
			delete(gs.byHash, g.hash)
			delete(ids, id)
		}
	}
	for _, tok := range t.Tokens {
		g, taken := ids[tok.ID]
		if taken && (g == nil || g.revoked || !g.configured) {
			continue
		}
		if g != nil {
			delete(gs.byHash, g.hash)
		}
		g = tok.grant(t)
		g.again = gs.again
		ids[tok.ID], gs.byHash[g.hash] = g, g
	}
}

// grant returns the grant of a configured token.
func (tok *Token) grant(t *Tenant) *grant {
	return &grant{id: tok.ID, configured: true, Identity: Identity{
		Tenant: t, hash: tok.Hash, Name: tokenName(tok.ID), Role: tok.Role, Kinds: tok.Kinds, Expires: tok.Expires,
	}}
}
