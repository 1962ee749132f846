package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

// A tokenHash is the SHA-256 of a token, which has 256 random bits. Tokens are
// stored only as hashes.
type tokenHash = [sha256.Size]byte

// A grant is the identity of a token's holder.
type grant struct {
	Identity
	id         string // unique in the tenant; "" if issued for an identity token
	configured bool   // from the configuration, unless the stream contains a grant with this ID
	revoked    bool
}

const (
	maxGrants   = 10_000    // per tenant, including revoked ones
	maxSessions = 200_000   // tokens issued for identity tokens, across tenants
	maxUsed     = 1_000_000 // number of remembered identity tokens
)

// grants contains the tokens in force. It is a projection of the configuration
// and of the grants recorded in the tenants' streams.
//
// The time of a lookup can depend on the token's SHA-256 and on the seed of the
// map. Neither reveals anything about unknown tokens.
type grants struct {
	again  func(*Identity) error // checks an identity again
	mu     sync.RWMutex
	byHash map[tokenHash]*grant
	// by tenant and ID; the value is nil while the grant is being recorded
	byID     map[string]map[string]*grant
	reserved map[tokenHash]bool // tokens of grants being recorded
	used     map[[sha256.Size]byte]time.Time
	sessions int // number of sessions in byHash; the other grants are also in byID
	sweepAt  int // total of sessions and used at which expired ones are dropped
}

func newGrants(again func(*Identity) error) *grants {
	return &grants{again: again, byHash: map[tokenHash]*grant{}, byID: map[string]map[string]*grant{}, reserved: map[tokenHash]bool{}, used: map[[sha256.Size]byte]time.Time{}, sweepAt: 1024}
}

// add puts a grant in force.
func (gs *grants) add(g *grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.byID[g.Tenant.Name] == nil {
		return // the tenant was removed meanwhile
	}
	if g.id == "" {
		if gs.byHash[g.hash] == nil {
			gs.sessions++
		}
	} else {
		if old := gs.byID[g.Tenant.Name][g.id]; old != nil {
			delete(gs.byHash, old.hash)
		}
		gs.byID[g.Tenant.Name][g.id] = g
	}
	g.again = gs.again
	gs.byHash[g.hash] = g
}

// revoke ends a grant and reports whether it was in force. It replaces the
// grant instead of changing it, because callers read grants without a lock.
func (gs *grants) revoke(g *grant) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.byID[g.Tenant.Name] == nil {
		return false // the tenant was removed meanwhile
	}
	if now := gs.byID[g.Tenant.Name][g.id]; now != nil && now.revoked {
		return false
	}
	revoked := *g
	revoked.revoked = true
	gs.byID[g.Tenant.Name][g.id] = &revoked
	gs.byHash[g.hash] = &revoked
	return true
}

// restore undoes the revocation of a grant that could not be recorded.
func (gs *grants) restore(g *grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if now := gs.byHash[g.hash]; now != nil && now.revoked {
		gs.byID[g.Tenant.Name][g.id] = g
		gs.byHash[g.hash] = g
	}
}

func (gs *grants) find(hash tokenHash) *grant {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return gs.byHash[hash]
}

// get returns the tenant's grant with the ID, or nil.
func (gs *grants) get(tenant, id string) *grant {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return gs.byID[tenant][id]
}

// list returns the tenant's grants that are neither revoked nor expired.
func (gs *grants) list(tenant string, now time.Time) (out []*grant) {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	for _, g := range gs.byID[tenant] {
		if g != nil && !g.revoked && (g.Expires.IsZero() || now.Before(g.Expires)) {
			out = append(out, g)
		}
	}
	return out
}

// reserve takes the ID and token hash of a grant that is being recorded.
// Neither is ever reused. Hashes are not secret: a tenant that registered the
// hash of another tenant's token would receive what is sent with that token.
func (gs *grants) reserve(g *grant) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	ids := gs.byID[g.Tenant.Name]
	if _, ok := ids[g.id]; ok {
		return ErrIDTaken
	}
	if gs.byHash[g.hash] != nil || gs.reserved[g.hash] {
		return ErrTokenTaken
	}
	if len(ids) >= maxGrants {
		return ErrTooManyGrants
	}
	ids[g.id], gs.reserved[g.hash] = nil, true
	return nil
}

// release ends the reservation of a grant, whether or not the grant was added.
func (gs *grants) release(g *grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	delete(gs.reserved, g.hash)
	if gs.byID[g.Tenant.Name][g.id] == nil {
		delete(gs.byID[g.Tenant.Name], g.id)
	}
}

// useIdentity marks an identity token as used for all tenants.
func (gs *grants) useIdentity(key [sha256.Size]byte, until, now time.Time) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.sweep(now)
	if _, ok := gs.used[key]; ok {
		return errUsedBefore
	}
	if len(gs.used) >= maxUsed || gs.sessions >= maxSessions {
		return ErrBusy
	}
	gs.used[key] = until
	return nil
}

// use records that an identity token was used.
func (gs *grants) use(key [sha256.Size]byte, until time.Time) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.used[key] = until
}

func (gs *grants) releaseIdentity(key [sha256.Size]byte) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	delete(gs.used, key)
}

// sweep drops expired items. It runs each time the table has doubled since the
// last sweep.
func (gs *grants) sweep(now time.Time) {
	if len(gs.used)+gs.sessions < gs.sweepAt {
		return
	}
	for k, until := range gs.used {
		if !now.Before(until) {
			delete(gs.used, k)
		}
	}
	for h, g := range gs.byHash {
		if g.id == "" && !now.Before(g.Expires) {
			delete(gs.byHash, h)
			gs.sessions--
		}
	}
	gs.sweepAt = max(1024, 2*(len(gs.used)+gs.sessions))
	if gs.sweepAt > maxSessions {
		gs.sweepAt = len(gs.used) + gs.sessions + maxSessions/10
	}
}

// tokenPrefix returns the prefix of a tenant's tokens.
func tokenPrefix(tenant string) string { return "mnt_" + tenant + "_" }

// newToken returns a token for the tenant.
func newToken(tenant string) (string, tokenHash) {
	var secret [32]byte
	rand.Read(secret[:])
	token := tokenPrefix(tenant) + base64.RawURLEncoding.EncodeToString(secret[:])
	return token, sha256.Sum256([]byte(token))
}
