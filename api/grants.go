package api

import (
	"crypto/sha256"
	"sync"
)

// A grant is an identity that the holder of a token has.
type grant struct {
	identity
	id      string // unique in the tenant
	revoked bool
}

// grants are the tokens in force: those of the configuration, and those that entries of the tenants' streams grant and revoke.
//
// Tokens are known by the SHA-256 of 256 random bits. Looking one up in a map takes a time that may depend on the hash of what was sent, and on the
// map's own seed; from neither can anything be learnt about a token that one does not have.
type grants struct {
	mu     sync.RWMutex
	byHash map[[sha256.Size]byte]*grant
}

func newGrants(tenants []Tenant) *grants {
	gs := &grants{byHash: map[[sha256.Size]byte]*grant{}}
	for i := range tenants {
		t := &tenants[i]
		for _, tok := range t.Tokens {
			gs.byHash[tok.Hash] = &grant{id: tok.ID, identity: identity{tenant: t, name: "token:" + tok.ID, role: tok.Role, kinds: tok.Kinds, expires: tok.Expires}}
		}
	}
	return gs
}

func (gs *grants) find(hash [sha256.Size]byte) *grant {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return gs.byHash[hash]
}
