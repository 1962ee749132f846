package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
)

// A grantDocument is the document of a config entry that records a grant. See
// docs/spec/kinds.md.
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
	Claims  map[string]string `json:"claims"`  // the claims that the rule names
	Expires time.Time         `json:"expires"` // of the identity token
}

// Names of config entries begin with their type and a slash.
const (
	grantType    = "grant"             // grant/ID; withdrawn: revoked
	exchangeType = ingest.ExchangeType // exchange/HASH of the identity token's issuer and ID
	sessionType  = ingest.SessionType  // session/HASH of the session and its rule
)

// loadTenantGrants reads the tenant's grants in force from the configuration
// and the log.
func (a *Authenticator) loadTenantGrants(ctx context.Context, gs *grants, t *Tenant) error {
	gs.byID[t.Name] = map[string]*grant{}
	for _, tok := range t.Tokens {
		gs.add(tok.grant(t))
	}
	if a.cfg.Ledger.IsReplica() {
		// only the configuration counts: revocations would reach a replica too
		// late
		return nil
	}
	if err := a.eachConfig(ctx, t, ledger.Filter{Attribute: "type=" + grantType}, func(c *ingest.Config) { a.replayGrant(gs, t, c) }); err != nil {
		return fmt.Errorf("read the grants of tenant %s: %w", t.Name, err)
	}
	since := a.cfg.Now().Add(-oidc.MaxLife - time.Hour) // older tokens have expired
	if err := a.eachConfig(ctx, t, ledger.Filter{Attribute: "type=" + exchangeType, From: since}, func(c *ingest.Config) { a.replayExchange(gs, t, c) }); err != nil {
		return fmt.Errorf("read the exchanged identity tokens of tenant %s: %w", t.Name, err)
	}
	return nil
}

// eachConfig calls each for the tenant's published config entries that match
// the filter, oldest first.
func (a *Authenticator) eachConfig(ctx context.Context, t *Tenant, f ledger.Filter, each func(*ingest.Config)) error {
	f.Kind = kindname.Config
	for q := (ledger.Query{Filter: f, OldestFirst: true, Limit: 1000}); ; {
		page, err := a.cfg.Ledger.List(ctx, t.Stream, q)
		if err != nil {
			return err
		}
		for i := range page.Entries {
			switch c, ok, err := a.readConfig(ctx, t, &page.Entries[i]); {
			case err != nil:
				return err
			case ok:
				each(c)
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

// readConfig returns what a config entry contains. An erased one grants
// nothing, and is not ok.
func (a *Authenticator) readConfig(ctx context.Context, t *Tenant, e *ledger.Entry) (c *ingest.Config, ok bool, err error) {
	c, err = ingest.ReadConfig(ctx, a.cfg.Ledger, e)
	if errors.Is(err, ledger.ErrErased) {
		a.cfg.Log.Error("config entry has no payload", "tenant", t.Name, "entry", e.Index)
		return nil, false, nil
	}
	return c, err == nil, err
}

func (a *Authenticator) replayGrant(gs *grants, t *Tenant, c *ingest.Config) {
	id := strings.TrimPrefix(c.Name, grantType+"/")
	old := gs.get(t.Name, id)
	if len(c.Document) == 0 {
		if old == nil {
			old = &grant{id: id, Identity: Identity{Tenant: t}}
		}
		gs.revoke(old)
		return
	}
	if old != nil && old.revoked {
		return // permanently
	}
	g, _, err := readGrant(t, c.Document)
	if err != nil { // from a later version; its holder needs another token
		a.cfg.Log.Error("grant not in force: cannot be read", "tenant", t.Name, "entry", c.Index, "err", err)
		return
	}
	g.id, g.Name = id, tokenName(id)
	gs.add(g)
}

func (a *Authenticator) replayExchange(gs *grants, t *Tenant, c *ingest.Config) {
	g, who, err := readGrant(t, c.Document)
	if err == nil && who == nil {
		err = errors.New("no identity")
	}
	key, keyErr := hex.DecodeString(strings.TrimPrefix(c.Name, exchangeType+"/"))
	if err = errors.Join(err, keyErr); err != nil || len(key) != sha256.Size {
		a.cfg.Log.Error("exchange cannot be read", "tenant", t.Name, "entry", c.Index, "err", err)
		return
	}
	if until := who.Expires.Add(oidc.MaxSkew); a.cfg.Now().Before(until) {
		gs.use([sha256.Size]byte(key), until)
	}
	if a.cfg.Now().Before(g.Expires) {
		g.Name = oidcIdentity(who.Issuer, who.Subject)
		gs.add(g)
	}
}

func readGrant(t *Tenant, document []byte) (*grant, *identityDocument, error) {
	var d grantDocument
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.DisallowUnknownFields() // an unknown field could be a restriction
	if err := dec.Decode(&d); err != nil {
		return nil, nil, err
	}
	g := &grant{Identity: Identity{Tenant: t, Kinds: d.Kinds}}
	hash, err := hex.DecodeString(d.Token)
	if err != nil || len(hash) != sha256.Size {
		return nil, nil, errors.New("tokenSha256 is not a hash")
	}
	g.hash = tokenHash(hash)
	if g.Role, err = ParseRole(d.Role); err != nil {
		return nil, nil, err
	}
	if d.Expires != nil {
		g.Expires = *d.Expires
	}
	if d.Identity != nil && d.Expires == nil {
		return nil, nil, errors.New("no expiry")
	}
	return g, d.Identity, nil
}

func (g *grant) document() grantDocument {
	d := grantDocument{Role: RoleName(g.Role), Kinds: g.Kinds, Token: hex.EncodeToString(g.hash[:])}
	if !g.Expires.IsZero() {
		d.Expires = &g.Expires
	}
	return d
}
