package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/oidc"
)

// A Directory lists who may call the server.
type Directory struct {
	Tenants []Tenant
	// Identities verifies the identity tokens that may be exchanged; nil
	// accepts none.
	Identities *oidc.Verifier
	Operators  []Operator
}

// An Operator may read /metrics and the details of /readyz. It belongs to no
// tenant and reads no evidence.
type Operator struct {
	ID      string
	Hash    [sha256.Size]byte // of its token
	Expires time.Time         // zero: never
}

// A directory is a Directory in force. It is never changed, only replaced.
type directory struct {
	tenants    []Tenant
	byName     map[string]*Tenant
	identities *oidc.Verifier
	operators  map[tokenHash]*Operator
	usages     *limit.Usages
}

// newDirectory indexes d. The quotas of tenants that old has go on, so that a
// reload does not reset what was used today.
func (s *Server) newDirectory(ctx context.Context, d Directory) (*directory, error) {
	dir := &directory{tenants: d.Tenants, byName: map[string]*Tenant{}, identities: d.Identities, operators: map[tokenHash]*Operator{}}
	accounts := make([]limit.Account, len(dir.tenants))
	for i := range dir.tenants {
		t := &dir.tenants[i]
		dir.byName[t.Name] = t
		accounts[i] = limit.Account{Name: t.Name, Stream: t.Stream, Quota: t.Limits}
	}
	var err error
	if dir.usages, err = s.limits.Load(ctx, s.ledger, accounts); err != nil {
		return nil, err
	}
	for i := range d.Operators {
		dir.operators[d.Operators[i].Hash] = &d.Operators[i]
	}
	return dir, nil
}

// Reload replaces the tenants with their tokens, rules and limits, the issuers
// of identity tokens, the operators, and the limits of all callers. Calls under
// way end under the old limits; a caller that may no longer call is refused
// from now on, and its streams end with their next message. After an error
// nothing has changed.
//
// A tenant that disappears takes its credentials with it, also those that its
// stream records. Its entries stay.
func (s *Server) Reload(ctx context.Context, settings Settings) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	old, d := s.dir.Load(), settings.Directory
	for i := range d.Tenants {
		t := &d.Tenants[i]
		if was := old.byName[t.Name]; was != nil && was.Stream.ID != t.Stream.ID {
			return fmt.Errorf("tenant %s: its stream key has changed: a tenant's stream is for ever; restore the key", t.Name)
		}
	}
	dir, err := s.newDirectory(ctx, d)
	if err != nil {
		return err
	}
	// The grants of new tenants are read before they are in force.
	added := newGrants()
	for i := range dir.tenants {
		if t := &dir.tenants[i]; old.byName[t.Name] == nil {
			if err := s.loadTenantGrants(ctx, added, t); err != nil {
				return err
			}
		}
	}
	s.limits.SetUsages(dir.usages)
	s.grants.replaceTenants(old, dir, added)
	s.dir.Store(dir)
	s.apply(settings)
	return nil
}

// Suspended tenants keep their credentials, which do not work.
var errSuspended = errors.New("authorization: this tenant is suspended; ask the operator of the ledger")

// tenantInForce returns nil if callers may act for the tenant.
func (s *Server) tenantInForce(name string) error {
	switch t := s.dir.Load().byName[name]; {
	case t == nil:
		return errWrongToken
	case t.Suspended:
		return errSuspended
	}
	return nil
}

// replaceTenants brings the grants from one directory to another: those of
// removed tenants go, those of added tenants come, and of the others the
// tokens of the configuration are compared. A grant that the stream records
// is left alone, and so is a revocation, which is for good.
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

// forgetTenant drops all grants of the tenant. gs.mu is held.
func (gs *grants) forgetTenant(name string) {
	for hash, g := range gs.byHash {
		if g.tenant.Name == name {
			delete(gs.byHash, hash)
			if g.id == "" {
				gs.sessions--
			}
		}
	}
	delete(gs.byID, name)
}

// replaceConfigured compares the tenant's tokens of the configuration with
// those in force. gs.mu is held.
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
		ids[tok.ID], gs.byHash[g.hash] = g, g
	}
}

// grant returns the grant of a token of the configuration.
func (tok *Token) grant(t *Tenant) *grant {
	return &grant{id: tok.ID, configured: true, identity: identity{
		tenant: t, hash: tok.Hash, name: "token:" + tok.ID, role: tok.Role, kinds: tok.Kinds, expires: tok.Expires,
	}}
}
