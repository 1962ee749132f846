package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Errors of Exchange, besides those of package oidc.
var (
	ErrNoIssuers  = errors.New("this ledger accepts no identity tokens: use a token of the tenant")
	ErrBusy       = errors.New("too many identity tokens were exchanged recently; retry later")
	errUsedBefore = fmt.Errorf("%w: it was used before; get a new one from the issuer", oidc.ErrRefused)
)

// A Session is a token that was issued for an identity token.
type Session struct {
	*Identity
	Token string
	Index uint64 // of the entry that records it
}

// Exchange issues a token of the tenant for an identity token. It records the
// exchange in the tenant's stream and charges it to the tenant's limits for the
// procedure. Used identity tokens are remembered in memory, and restored from
// the stream after a restart.
func (a *Authenticator) Exchange(ctx context.Context, procedure, tenant, identityToken string) (*Session, error) {
	dir := a.dir.Load()
	if dir.identities == nil {
		return nil, ErrNoIssuers
	}
	tok, err := dir.identities.Verify(ctx, identityToken)
	if err != nil {
		return nil, err
	}
	t, rule := dir.ruleFor(tenant, tok)
	if rule == nil { // do not reveal whether the tenant exists
		return nil, fmt.Errorf("%w: tenant %q has no rule for the subject %q of %s", oidc.ErrRefused, tenant, tok.Subject, tok.Issuer)
	}
	done, err := a.cfg.Limits.TakeRecord(ctx, procedure, a.cfg.Limits.Usage(t.Name), len(identityToken))
	if err != nil {
		return nil, err
	}
	defer done()
	now := a.cfg.Now()
	key := sha256.Sum256([]byte(tok.Issuer + "\x00" + tok.ID))
	if err := a.grants.useIdentity(key, tok.Expires.Add(oidc.MaxSkew), now); err != nil {
		return nil, err
	}
	token, hash := newToken(t.Name)
	g := &grant{Identity: Identity{
		Tenant: t, hash: hash, Name: oidcIdentity(tok.Issuer, tok.Subject), Role: rule.Role, Kinds: rule.Kinds, Expires: now.Add(rule.life()).UTC().Truncate(time.Second),
	}}
	r, err := a.recordExchange(ctx, g, tok, rule, key)
	if err != nil {
		if !errors.Is(err, errUsedBefore) && r.Err == nil { // not recorded
			a.grants.releaseIdentity(key)
		}
		return nil, err
	}
	a.grants.add(g)
	return &Session{&g.Identity, token, r.Index}, nil
}

// oidcIdentity returns the submitter name for the holder of an identity token.
func oidcIdentity(issuer, subject string) string { return "oidc:" + issuer + "#" + subject }

// ruleFor returns the tenant's first rule that matches the token. Rules of a
// suspended tenant never match.
func (d *directory) ruleFor(tenant string, tok *oidc.Token) (*Tenant, *IdentityRule) {
	t := d.byName[tenant]
	if t == nil || t.Suspended {
		return nil, nil
	}
	for j := range t.Rules {
		if ok, _ := t.Rules[j].Match(tok); ok {
			return t, &t.Rules[j]
		}
	}
	return nil, nil
}

func (a *Authenticator) recordExchange(ctx context.Context, g *grant, tok *oidc.Token, rule *IdentityRule, key [sha256.Size]byte) (ledger.Result, error) {
	d := g.document()
	d.Identity = &identityDocument{Issuer: tok.Issuer, Subject: tok.Subject, Rule: rule.Name, Claims: rule.Matched(tok), Expires: tok.Expires.UTC()}
	document, err := json.Marshal(d)
	if err != nil {
		return ledger.Result{}, err
	}
	name := fmt.Sprintf("%s/%x", exchangeType, key)
	who := ingest.Submitter{Tenant: g.Tenant.Name, Identity: ingest.ServerIdentity, Stream: g.Tenant.Stream}
	r, err := a.cfg.Ingest.RecordOnce(context.WithoutCancel(ctx), who, kindname.Config, name, &munimentv1.Config{
		Name: name, Document: string(document), Digest: entry.SHA256(document), Actor: g.Name,
	})
	if errors.Is(err, ledger.ErrKeyReused) || err == nil && r.Duplicate {
		return r, errUsedBefore
	}
	return r, err
}
