package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// A tokenHash is the SHA-256 of a token, which has 256 random bits. Tokens are
// stored only as hashes.
type tokenHash = [sha256.Size]byte

// A grant is the identity of a token's holder.
type grant struct {
	identity
	id         string // unique in the tenant; "" for one that an identity token was exchanged for
	configured bool   // a token of the configuration, unless the stream has a grant of this ID
	revoked    bool
}

// A grantDocument is the document of an entry of kind config that records a
// grant. See docs/spec/kinds.md.
type grantDocument struct {
	Role    string     `json:"role"`
	Kinds   []string   `json:"kinds,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	Token   string     `json:"tokenSha256"`
	// Of an exchanged identity token:
	Identity *identityDocument `json:"identity,omitempty"`
}

type identityDocument struct {
	Issuer  string            `json:"issuer"`
	Subject string            `json:"subject"`
	Rule    string            `json:"rule"`
	Claims  map[string]string `json:"claims"`  // those that the rule names
	Expires time.Time         `json:"expires"` // of the identity token
}

// Names of entries of kind config begin with their type and a slash.
const (
	grantType    = "grant"    // grant/ID; withdrawn: revoked
	exchangeType = "exchange" // exchange/HASH of the identity token's issuer and ID
)

const (
	maxGrants   = 10_000    // of one tenant, revoked ones included
	maxSessions = 200_000   // tokens issued for identity tokens, of all tenants
	maxUsed     = 1_000_000 // remembered identity tokens
)

// grants are the tokens in force: a projection of the configuration and of the
// grants that the tenants' streams record.
//
// The time of a lookup can depend on the token's SHA-256 and on the seed of the
// map. Neither reveals anything about unknown tokens.
type grants struct {
	mu     sync.RWMutex
	byHash map[tokenHash]*grant
	// of each tenant; the value is nil while the grant is being recorded
	byID     map[string]map[string]*grant
	reserved map[tokenHash]bool // of grants that are being recorded
	used     map[[sha256.Size]byte]time.Time
	sessions int // in byHash; the rest are in byID, too
	sweepAt  int // sessions and used at which the expired ones are dropped
}

func newGrants() *grants {
	return &grants{byHash: map[tokenHash]*grant{}, byID: map[string]map[string]*grant{}, reserved: map[tokenHash]bool{}, used: map[[sha256.Size]byte]time.Time{}, sweepAt: 1024}
}

// loadTenantGrants reads the tenant's grants in force from the configuration
// and the log.
func (s *Server) loadTenantGrants(ctx context.Context, gs *grants, t *Tenant) error {
	gs.byID[t.Name] = map[string]*grant{}
	for _, tok := range t.Tokens {
		gs.add(tok.grant(t))
	}
	if s.ledger.IsReplica() { // its own configuration decides: revocations reach it too late
		return nil
	}
	if err := s.eachConfig(ctx, t, ledger.Filter{Attribute: "type=" + grantType}, func(c *ingest.Config) { s.replayGrant(gs, t, c) }); err != nil {
		return fmt.Errorf("read the grants of tenant %s: %w", t.Name, err)
	}
	since := s.now().Add(-oidc.MaxLife - time.Hour) // older tokens have expired
	if err := s.eachConfig(ctx, t, ledger.Filter{Attribute: "type=" + exchangeType, From: since}, func(c *ingest.Config) { s.replayExchange(gs, t, c) }); err != nil {
		return fmt.Errorf("read the exchanged identity tokens of tenant %s: %w", t.Name, err)
	}
	return nil
}

// eachConfig calls each for the tenant's published entries of kind config that
// match the filter, oldest first.
func (s *Server) eachConfig(ctx context.Context, t *Tenant, f ledger.Filter, each func(*ingest.Config)) error {
	f.Kind = kindname.Config
	for q := (ledger.Query{Filter: f, OldestFirst: true, Limit: 1000}); ; {
		page, err := s.ledger.List(ctx, t.Stream, q)
		if err != nil {
			return err
		}
		for i := range page.Entries {
			c, err := ingest.ReadConfig(ctx, s.ledger, &page.Entries[i])
			if errors.Is(err, ledger.ErrErased) { // it grants nothing any more
				s.log.Error("an entry of kind config has no payload", "tenant", t.Name, "entry", page.Entries[i].Index)
				continue
			}
			if err != nil {
				return err
			}
			each(c)
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

func (s *Server) replayGrant(gs *grants, t *Tenant, c *ingest.Config) {
	id := strings.TrimPrefix(c.Name, grantType+"/")
	old := gs.byID[t.Name][id]
	if len(c.Document) == 0 {
		if old == nil {
			old = &grant{id: id, identity: identity{tenant: t}}
		}
		gs.revoke(old)
		return
	}
	if old != nil && old.revoked {
		return // for good
	}
	g, _, err := readGrant(t, c.Document)
	if err != nil { // written by a later version; its holder needs another token
		s.log.Error("a grant is not in force, because it can't be read", "tenant", t.Name, "entry", c.Index, "err", err)
		return
	}
	g.id, g.name = id, "token:"+id
	gs.add(g)
}

func (s *Server) replayExchange(gs *grants, t *Tenant, c *ingest.Config) {
	g, who, err := readGrant(t, c.Document)
	if err == nil && who == nil {
		err = errors.New("there is no identity in it")
	}
	key, keyErr := hex.DecodeString(strings.TrimPrefix(c.Name, exchangeType+"/"))
	if err = errors.Join(err, keyErr); err != nil || len(key) != sha256.Size {
		s.log.Error("an exchange can't be read", "tenant", t.Name, "entry", c.Index, "err", err)
		return
	}
	if until := who.Expires.Add(oidc.MaxSkew); s.now().Before(until) {
		gs.used[[sha256.Size]byte(key)] = until
	}
	if s.now().Before(g.expires) {
		g.name = oidcIdentity(who.Issuer, who.Subject)
		gs.add(g)
	}
}

func readGrant(t *Tenant, document []byte) (*grant, *identityDocument, error) {
	var d grantDocument
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.DisallowUnknownFields() // it could be a restriction
	if err := dec.Decode(&d); err != nil {
		return nil, nil, err
	}
	g := &grant{identity: identity{tenant: t, kinds: d.Kinds}}
	hash, err := hex.DecodeString(d.Token)
	if err != nil || len(hash) != sha256.Size {
		return nil, nil, errors.New("tokenSha256 is not a hash")
	}
	g.hash = tokenHash(hash)
	if g.role, err = ParseRole(d.Role); err != nil {
		return nil, nil, err
	}
	if d.Expires != nil {
		g.expires = *d.Expires
	}
	if d.Identity != nil && d.Expires == nil {
		return nil, nil, errors.New("it never expires")
	}
	return g, d.Identity, nil
}

func (g *grant) document() grantDocument {
	d := grantDocument{Role: RoleName(g.role), Kinds: g.kinds, Token: hex.EncodeToString(g.hash[:])}
	if !g.expires.IsZero() {
		d.Expires = &g.expires
	}
	return d
}

// add puts a grant in force.
func (gs *grants) add(g *grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if g.id == "" {
		gs.sessions++
	} else {
		if old := gs.byID[g.tenant.Name][g.id]; old != nil {
			delete(gs.byHash, old.hash)
		}
		gs.byID[g.tenant.Name][g.id] = g
	}
	gs.byHash[g.hash] = g
}

// revoke ends a grant. It replaces the grant instead of changing it, because
// callers read grants without a lock.
func (gs *grants) revoke(g *grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	revoked := *g
	revoked.revoked = true
	gs.byID[g.tenant.Name][g.id] = &revoked
	gs.byHash[g.hash] = &revoked
}

func (gs *grants) find(hash tokenHash) *grant {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return gs.byHash[hash]
}

// get returns the tenant's grant of the ID, or nil.
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
		if g != nil && !g.revoked && (g.expires.IsZero() || now.Before(g.expires)) {
			out = append(out, g)
		}
	}
	return out
}

// reserve takes the ID and the token of a grant that is being recorded. Neither
// is ever reused. Hashes are not secret: a tenant that registered the hash of
// another tenant's token would receive what is sent with that token.
func (gs *grants) reserve(g *grant) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	ids := gs.byID[g.tenant.Name]
	if _, ok := ids[g.id]; ok {
		return errIDTaken
	}
	if gs.byHash[g.hash] != nil || gs.reserved[g.hash] {
		return errTokenTaken
	}
	if len(ids) >= maxGrants {
		return errTooManyGrants
	}
	ids[g.id], gs.reserved[g.hash] = nil, true
	return nil
}

// release ends the reservation of a grant, whether it was added or not.
func (gs *grants) release(g *grant) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	delete(gs.reserved, g.hash)
	if gs.byID[g.tenant.Name][g.id] == nil {
		delete(gs.byID[g.tenant.Name], g.id)
	}
}

var (
	errIDTaken       = errors.New("there is, or was, a grant of this ID; choose another")
	errTokenTaken    = errors.New("there is, or was, a grant of this token; draw another")
	errTooManyGrants = fmt.Errorf("the tenant has %d grants, which is the limit", maxGrants)
	errUsedBefore    = fmt.Errorf("%w: it was used before; get a new one from the issuer", oidc.ErrRefused)
	errBusyIdentity  = errors.New("too many identity tokens are remembered; retry later")
)

// useIdentity marks an identity token as used, for all tenants.
func (gs *grants) useIdentity(key [sha256.Size]byte, until, now time.Time) error {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.sweep(now)
	if _, ok := gs.used[key]; ok {
		return errUsedBefore
	}
	if len(gs.used) >= maxUsed || gs.sessions >= maxSessions {
		return errBusyIdentity
	}
	gs.used[key] = until
	return nil
}

func (gs *grants) releaseIdentity(key [sha256.Size]byte) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	delete(gs.used, key)
}

// sweep drops what has expired. It runs each time the table has doubled since
// the last sweep.
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
		if g.id == "" && !now.Before(g.expires) {
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
